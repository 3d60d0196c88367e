// Package template measures what the shipped ConstraintTemplates admit, on Gatekeeper's own engine: it runs the suite of the
// library, and gives its counts.
package template

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify/test/hostile/gotest"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program"
)

const (
	shapesTest = "TestShapesOfAnswer"
	randomTest = "TestRandomAnswers"
	faultsTest = "TestFaultsAreFound"
	// minShapes and minRandom are what is promised.
	minShapes, minRandom = 60, 20_000
)

// Part measures P15.
func Part() promise.Part {
	return promise.Part{Name: "template", About: "shapes of answer and random ones on Gatekeeper's own engine", Run: run}
}

func run(ctx context.Context, env promise.Env) (promise.Report, error) {
	tests := []string{shapesTest, randomTest, faultsTest}
	if env.Quick {
		tests = tests[:1]
	}
	root, err := program.Root()
	if err != nil {
		return promise.Report{}, err
	}
	r, err := gotest.Run(ctx, filepath.Join(root, "test"), "-v", "-run", "^("+strings.Join(tests, "|")+")$", "./library")
	if err != nil {
		return promise.Report{}, err
	}
	return judge(r, env.Quick), nil
}

// judge makes figures of what the suite did. What a test counts it says in its last line.
func judge(r gotest.Result, quick bool) promise.Report {
	shapes := under(r.Passed, shapesTest+"/default/")
	broken := slices.Concat(r.Failed, r.Unended)
	note := strings.Join(broken, ", ")
	report := promise.Report{Results: []promise.Result{{
		Promise: "P15", What: "shapes of answer, each with the denial that it must give", Got: fmt.Sprintf("%d as they must be, %d not", shapes, len(broken)),
		Bound: fmt.Sprintf("%d or more, 0 not", minShapes), Held: shapes >= minShapes && r.OK(), Note: note,
	}}}
	if quick {
		return report
	}
	random := count(r.Output, `(\d+) random answers`)
	faults := under(r.Passed, faultsTest+"/default/")
	report.Results = append(report.Results, promise.Result{
		Promise: "P15", What: "random answers of which the oracle says the same", Got: fmt.Sprint(random), Bound: fmt.Sprintf("%d or more, all", minRandom),
		Held: random >= minRandom && r.OK(), Note: note,
	}, promise.Result{
		Promise: "P15", What: "faults put into the template that a shape shows", Got: fmt.Sprint(faults), Bound: "all", Held: faults > 0 && r.OK(), Note: note,
	})
	return report
}

// under counts the tests of a group.
func under(tests []string, group string) (n int) {
	for _, test := range tests {
		if strings.HasPrefix(test, group) {
			n++
		}
	}
	return n
}

// count is the first number that the pattern finds, which is the default template's; 0 without any.
func count(output, pattern string) (n int) {
	if found := regexp.MustCompile(pattern).FindStringSubmatch(output); found != nil {
		_, _ = fmt.Sscan(found[1], &n) // they are digits
	}
	return n
}
