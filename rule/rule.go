// Package rule decides what no verifier can be configured to ask: one expression of the Common Expression Language (CEL)
// over the image and the claims of the evidence that passed. It implements ratify.Rule.
//
// An expression sees two variables and nothing else, neither clock nor network nor disk:
//
//	image     {repository, host, digest, namespace, mediaType}, all strings
//	evidence  a list of {verifier, type, artifactType, reference, code, claims}, all strings but claims, which are the
//	          extensions of the verifier's report, by name
//
// For example:
//
//	evidence.exists(e, e.verifier == "provenance" && e.claims.builder.startsWith("https://github.com/acme/"))
//
// It has the standard functions and macros of the language and optional values (e.claims.?builder.orValue("")), less the
// functions that take a timestamp apart. Extension libraries are left out: a few of their functions make much out of
// little before their cost is counted (replace, join, format, range, sets of large lists).
//
// Begin at Compile.
package rule

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/ratify-provider/ratify"
)

// Bounds on expressions. A tenant may write one too, so they hold against whoever wants to keep the provider busy.
const (
	// MaxExpressionBytes bounds an expression: what asks twenty things of ten verifiers has 2 KiB.
	MaxExpressionBytes = 4 << 10
	// MaxCost bounds one evaluation, in CEL's units: a step is about one, ten bytes that are copied or searched too.
	// It allows 20 pieces of evidence with 1,000 claims each to be looked at in ten steps, which measures 5 to 50 ms of
	// one core.
	MaxCost = 200_000
	// maxNesting bounds loops in loops, and loops over what loops give: evidence, its packages, their licences, and one to
	// spare.
	maxNesting = 4
	// maxRegexProgram bounds a compiled regular expression, in instructions: a byte may take as many steps. One that
	// spells out a workflow's identity has about 100.
	maxRegexProgram = 300
	// interruptEvery is after how many turns of a loop the context is looked at: 0.1 ms, 30 ms where each turn matches a large regular expression.
	interruptEvery = 100
)

// A Rule is a compiled expression. It is immutable and safe for concurrent use.
type Rule struct {
	program cel.Program
	source  *source
}

var _ ratify.Rule = (*Rule)(nil)

// Compile checks an expression and makes a Rule of it. It must be of the type bool: what is read from claims has no type
// before it is compared. What is wrong with it is told as *Error, joined where there are several.
func Compile(expression string) (*Rule, error) {
	src := newSource(expression)
	if strings.TrimSpace(expression) == "" {
		return nil, src.whole("the rule is empty")
	}
	if len(expression) > MaxExpressionBytes {
		return nil, src.whole("the rule has %d bytes, more than the %d that are allowed", len(expression), MaxExpressionBytes)
	}
	environment, err := newEnvironment()
	if err != nil {
		return nil, fmt.Errorf("set up the language of rules: %w", err)
	}
	ast, issues := environment.Compile(expression)
	if issues.Err() != nil {
		return nil, src.faults(issues.Errors())
	}
	src.info = ast.NativeRep().SourceInfo()
	if ast.OutputType() != cel.BoolType {
		return nil, src.whole("the rule is of the type %s and must be of the type bool", ast.OutputType())
	}
	estimate, err := environment.EstimateCost(ast, unknownSizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate what the rule costs: %w", err)
	}
	// The upper end says nothing, for what claims hold is not known yet; beyond the lower end no claims make it true.
	if estimate.Min > MaxCost {
		return nil, src.whole("the rule costs %d steps at least, more than the %d that are allowed", estimate.Min, MaxCost)
	}
	program, err := environment.Program(ast, append(bounds(), cel.EvalOptions(cel.OptOptimize))...)
	if err != nil {
		return nil, src.whole("%s", err) // a constant that cannot be what it is said to be
	}
	return &Rule{program: program, source: src}, nil
}

// newEnvironment is the language of rules.
func newEnvironment() (*cel.Env, error) {
	return cel.NewCustomEnv(
		// These read the time zone database from the disk, at the price of one step.
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(calendar()...))),
		cel.OptionalTypes(),
		cel.Types(cel.NativeTypeFor[image](types.ParseStructTags(true)), cel.NativeTypeFor[evidence](types.ParseStructTags(true))),
		cel.Variable("image", cel.ObjectType("rule.image")),
		cel.Variable("evidence", cel.ListType(cel.ObjectType("rule.evidence"))),
		cel.EagerlyValidateDeclarations(true),
		cel.ParserExpressionSizeLimit(MaxExpressionBytes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexProgram),
			cel.ValidateTimestampLiterals(),
			cel.ValidateDurationLiterals(),
			cel.ValidateComprehensionNestingLimit(maxNesting),
		),
	)
}

func calendar() []*env.Function {
	names := []string{
		overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth, overloads.TimeGetDate,
		overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes, overloads.TimeGetSeconds, overloads.TimeGetMilliseconds,
	}
	functions := make([]*env.Function, len(names))
	for i, name := range names {
		functions[i] = env.NewFunction(name)
	}
	return functions
}

// Holds tells whether the rule is true for the claims. It looks at ctx while it evaluates, and returns the context's error
// if that has ended. Other errors are *Error where a place in the expression is to blame: a claim that is not there (ask
// has(e.claims.name) first), one of another type, a cost beyond MaxCost.
func (r *Rule) Holds(ctx context.Context, claims ratify.Claims) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("evaluate the rule: %w", err)
	}
	variables, err := newVariables(claims)
	if err != nil {
		return false, err
	}
	value, _, err := r.program.ContextEval(ctx, variables)
	if err != nil {
		return false, r.failure(ctx, err)
	}
	holds, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the rule gave a value of the type %s", value.Type().TypeName())
	}
	return bool(holds), nil
}

func (r *Rule) failure(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("evaluate the rule: %w", ended)
	}
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		switch cancelled.Cause {
		case interpreter.CostLimitExceeded:
			return fmt.Errorf("the rule took more than the %d steps that are allowed", MaxCost)
		case interpreter.MemoryLimitExceeded:
			return fmt.Errorf("the rule made a value of more than the %d elements that are allowed", maxSize)
		}
	}
	var failed *types.Err
	if errors.As(err, &failed) {
		return r.source.at(r.source.info.GetStartLocation(failed.NodeID()), failed.Error())
	}
	return fmt.Errorf("evaluate the rule: %s", printable(err.Error()))
}
