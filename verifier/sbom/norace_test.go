//go:build !race

package sbom_test

// poolLoss is how much more is allocated than without the race detector.
const poolLoss = 1
