//go:build race

package sbom_test

// poolLoss is how much more the library that compares versions allocates under the race detector, which has sync.Pool
// drop at random what the matching of regular expressions would use again.
const poolLoss = 100
