// Package world holds the parts that a measurement is made of: an embedded registry that counts what it is asked and can be
// slowed, limited and closed (Registry); images that are signed afresh (Signer, Registry.Images); and the processes that
// answer Gatekeeper (Server): ratify itself, and what it is compared with in the same run. The floor (RunFloor) does only
// what must be done, the echo (RunEcho) answers what was recorded.
//
// It measures nothing: whoever asks the questions counts and times. It is for Linux, whose /proc tells what a process used.
// Begin at NewRegistry, Registry.Images and StartRatify.
package world
