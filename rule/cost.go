package rule

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// maxSize bounds each value of an evaluation, in the library's units: a number, or ten bytes of text, wherever they are
	// in it and as often as they are. All claims together may have half of it, if their texts are cut as they should be;
	// it is 10 MB of text.
	maxSize = 1_000_000
	// maxSizeDepth is how deep a value is looked into for its size; evidence and what a rule builds around claims come on
	// top of theirs. What is deeper counts as too large.
	maxSizeDepth = 2 * maxDepth
	// maxSizeSteps is how many values are looked at for one size, once all claims are known.
	maxSizeSteps = 10 * maxValues
	// dearRegex is the least length that a regular expression is charged for: a short one can have a program of
	// maxRegexProgram instructions, where four for each of its bytes are usual.
	dearRegex = maxRegexProgram / 4
)

// bounds are what an evaluation may take. The library counts steps and the sizes of what comes of them.
func bounds() []cel.ProgramOption {
	sizer := types.NewSizeCalculator(types.SizeCalculatorMaxDepth(maxSizeDepth), types.SizeCalculatorMaxTraversal(maxSizeSteps))
	return []cel.ProgramOption{
		cel.CostTracking(prices{sizer}),
		cel.CostLimit(MaxCost),
		cel.MemoryTracking(types.MemoryTrackerSizeCalculator(sizer)),
		cel.MemoryLimit(maxSize),
		cel.InterruptCheckFrequency(interruptEvery),
	}
}

// prices are those of the operators that the library takes for one step although they walk through values: operators
// whose operands have no type before they are evaluated, which is all that is read from claims, and comparisons, of which
// it counts the outermost lists alone. A rule can make lists of lists that are short and hold a million values. Regular
// expressions are dearer than the library takes them for.
type prices struct{ sizer *types.SizeCalculator }

// CallCost implements cost.ActualCostEstimator. It leaves to the library what has a type, and so a price.
func (p prices) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	price := uint64(1)
	switch function {
	case operators.Add:
		price += p.size(result)
	case operators.Equals, operators.NotEquals:
		price += min(p.size(args[0]), p.size(args[1]))
	case operators.In, operators.OldIn:
		price += p.searched(args[0], args[1])
	case overloads.Matches:
		price += p.size(args[0]) * max(textLen(args[1]), dearRegex)
	default:
		if overload != "" {
			return nil
		}
		for _, arg := range args {
			if _, aggregate := arg.(traits.Container); !aggregate {
				price += p.size(arg)
			}
		}
	}
	return &price
}

// searched is the price of looking for an element in a list: a comparison for each, which goes deeper than one step only
// where the element does. Maps are not searched.
func (p prices) searched(element, container ref.Val) uint64 {
	list, ok := container.(traits.Lister)
	if !ok {
		return 0
	}
	if p.size(element) > 1 && element.Type() != types.StringType {
		return p.size(list)
	}
	n, _ := list.Size().(types.Int)
	return uint64(max(n, 0))
}

func (p prices) size(value ref.Val) uint64 {
	return uint64(p.sizer.ApproximateAggregateSize(value).Size)
}

func textLen(value ref.Val) uint64 {
	text, _ := value.(types.String)
	return uint64(len(text))
}

// unknownSizes tells the compiler's estimator what is known of the variables: nothing, at the lower end.
type unknownSizes struct{}

// EstimateSize implements cost.Estimator.
func (unknownSizes) EstimateSize(cost.AstNode) *cost.SizeEstimate { return nil }

// EstimateCallCost implements cost.Estimator.
func (unknownSizes) EstimateCallCost(_, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	return nil
}
