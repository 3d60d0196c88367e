// Package world holds the parts that are measured and those they are measured against: an embedded registry that counts what it is asked, signers of images,
// and the processes that answer Gatekeeper.
package world
