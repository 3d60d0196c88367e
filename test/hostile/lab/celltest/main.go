// Command celltest tries out a cell: that it has the addresses that it should have, that the lab's resolver is asked, and that
// the kernel counts a connection to nobody and a packet to nowhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

func main() { lab.CellMain(try) }

// wait bounds each connection: all are within the machine.
const wait = 10 * time.Second

func try(ctx context.Context, env promise.Env) (report promise.Report, err error) {
	l, err := lab.New(filepath.Join(env.Dir, "lab"))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	held := func(what string, ok bool) {
		report.Results = append(report.Results, promise.Result{Promise: "P4", What: what, Got: fmt.Sprint(ok), Bound: "true", Held: ok})
	}
	for _, address := range []string{lab.PublicAddress(1), lab.PublicAddress(254), lab.MetadataAddress, lab.PrivateAddress, "127.0.0.1"} {
		host, err := l.Host(lab.HostOptions{Name: address, Address: address, Port: 443, Plain: true})
		if err != nil {
			return report, err
		}
		held("a connection to "+address, dial(ctx, host.Addr) == nil)
	}
	if _, err := l.Resolver(lab.ResolverAddress, func(lab.Question) lab.Names {
		return lab.Names{Addresses: []netip.Addr{netip.MustParseAddr(lab.PublicAddress(7))}}
	}); err != nil {
		return report, err
	}
	found, err := net.DefaultResolver.LookupHost(ctx, "anybody.example")
	held("a name that the lab's resolver knows", err == nil && len(found) == 1 && found[0] == lab.PublicAddress(7))
	err = counts(ctx, held)
	return report, err
}

// counts makes a connection to nobody, and one to nowhere, and sees that the kernel counts them.
func counts(ctx context.Context, held func(string, bool)) error {
	before, err := lab.ReadCounters()
	if err != nil {
		return err
	}
	held("nobody listens at port 9", dial(ctx, "127.0.0.1:9") != nil)
	held("no way leads out", dial(ctx, "192.0.2.1:443") != nil)
	after, err := lab.ReadCounters()
	if err != nil {
		return err
	}
	held("the kernel counts the connection to nobody", after.Connections == before.Connections+1)
	held("the kernel counts the packet to nowhere", after.NoRoute == before.NoRoute+1)
	return nil
}

func dial(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
