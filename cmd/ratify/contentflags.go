package main

import (
	"strconv"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/resource"
)

// contentOptions say what the server keeps of what registries hold under a digest. They are flags and no configuration,
// for it outlives each configuration.
type contentOptions struct {
	memory, disk quantity
	dir          string
}

func (o *contentOptions) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.Var(&o.memory, "content-memory", "bytes of manifests, signatures and documents that are kept in memory; 0 is none")
	flags.StringVar(&o.dir, "content-dir", "", "`directory` where manifests, signatures and documents are kept, too, for the next start")
	flags.Var(&o.disk, "content-disk", "bytes that its files may take")
	_ = command.MarkFlagDirname("content-dir")
}

// check refuses what would have no effect.
func (o *contentOptions) check(flags *pflag.FlagSet) error {
	switch {
	case o.dir == "" && flags.Changed("content-disk"):
		return usage("name the directory with --content-dir", "--content-disk has no effect without --content-dir")
	case o.dir != "" && o.disk == 0:
		return usage("leave --content-dir out, or give --content-disk 256Mi", "--content-dir has no effect if --content-disk is 0")
	}
	return nil
}

func (o *contentOptions) options(log *zap.Logger) blobs.Options {
	return blobs.Options{Memory: int64(o.memory), Dir: o.dir, Disk: int64(o.disk), Warn: func(err error) {
		log.Warn("the directory of content fails: everything is answered, with more requests to registries", zap.Error(err))
	}}
}

// A quantity is a flag's value in bytes, written as in the configuration, or 0.
type quantity int64

// String writes it as it is read.
func (q *quantity) String() string {
	return resource.NewQuantity(int64(*q), resource.BinarySI).String()
}

// Type is what it is called in the help.
func (q *quantity) Type() string { return "quantity" }

// Set reads a quantity such as 64Mi.
func (q *quantity) Set(text string) error {
	if text == "0" {
		*q = 0
		return nil
	}
	var b config.Bytes
	if err := b.UnmarshalJSON([]byte(strconv.Quote(text))); err != nil {
		return err
	}
	*q = quantity(b)
	return nil
}
