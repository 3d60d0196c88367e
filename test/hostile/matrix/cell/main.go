// Command cell is the part of the matrix that is about names, within a cell of the lab.
package main

import (
	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/matrix"
)

func main() { lab.CellMain(matrix.Names) }
