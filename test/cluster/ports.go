package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below the range from which systems give ports to outgoing connections (32768 and above on Linux, 49152
// elsewhere), so that none is lost to a connection between here and the start of the program that will listen.
const (
	lowestPort  = 20000
	highestPort = 32000
	portTries   = 100
)

// FreePort returns a TCP port of 127.0.0.1 on which nobody listens.
func FreePort() (int, error) {
	for range portTries {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port: %d ports tried between %d and %d are in use", portTries, lowestPort, highestPort)
}

// freePorts returns n different ports.
func freePorts(n int) ([]int, error) {
	seen := map[int]bool{}
	var ports []int
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports, nil
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
