// Command cell is the containment part within a cell of the lab.
package main

import (
	"github.com/ratify-provider/ratify/test/hostile/containment"
	"github.com/ratify-provider/ratify/test/hostile/lab"
)

func main() { lab.CellMain(containment.InCell) }
