package netguard

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestCheckJudgesTheAddressThatIsDialled(t *testing.T) {
	for _, tc := range []struct {
		address string
		want    verdict
	}{
		{"8.8.8.8:443", public},
		{"[2606:4700::1]:443", public},
		{"[64:ff9b::808:808]:443", public},
		{"[2002:808:808::1]:443", public},
		{"127.0.0.1:443", private},
		{"[::1]:443", private},
		{"[::ffff:127.0.0.1]:443", private},
		{"[::ffff:7f00:1]:443", private},
		{"[64:ff9b::7f00:1]:443", private},
		{"[64:ff9b:1::7f00:1]:443", private},
		{"[2002:7f00:1::]:443", private},
		{"10.1.2.3:443", private},
		{"172.31.255.255:443", private},
		{"192.168.0.1:443", private},
		{"100.64.0.1:443", private},
		{"198.19.255.255:443", private},
		{"192.0.2.1:443", private},
		{"203.0.113.9:443", private},
		{"[fd12:3456::1]:443", private},
		{"[fec0::1]:443", private},
		{"[2001:db8::1]:443", private},
		{"[3fff::1]:443", private},
		{"240.0.0.1:443", private},
		{"192.0.0.1:443", private},
		{"169.254.169.254:80", never},
		{"[::ffff:169.254.169.254]:80", never},
		{"[64:ff9b::a9fe:a9fe]:80", never},
		{"[64:ff9b:1::a9fe:a9fe]:80", never},
		{"[2002:a9fe:a9fe::]:80", never},
		{"[fe80::1]:80", never},
		{"[fe80::1%eth0]:80", never},
		{"[fd00:ec2::254]:80", never},
		{"[fd20:ce::254]:80", never},
		{"100.100.100.200:80", never},
		{"168.63.129.16:80", never},
		{"192.0.0.192:80", never},
		{"0.0.0.0:443", never},
		{"0.1.2.3:443", never},
		{"[::]:443", never},
		{"[::ffff:0.0.0.0]:443", never},
		{"[::127.0.0.1]:443", never},
		{"224.0.0.1:443", never},
		{"[ff02::1]:443", never},
		{"255.255.255.255:443", never},
		{"[2001:0:4136:e378::1]:443", never},
		{"[100::1]:443", never},
		{"[5f00::1]:443", never},
		{"registry.example:443", never},
		{"", never},
	} {
		t.Run(tc.address, func(t *testing.T) {
			for allowPrivate, allowed := range map[bool]bool{false: tc.want == public, true: tc.want != never} {
				err := check("tcp4", tc.address, allowPrivate)
				if (err == nil) != allowed {
					t.Errorf("check(allowPrivate %v) = %v, want allowed %v", allowPrivate, err, allowed)
				}
				var forbidden *ForbiddenError
				if !allowed && (!errors.As(err, &forbidden) || forbidden.Private != (tc.want == private) || tc.address != "" && forbidden.Address == "") {
					t.Errorf("check(allowPrivate %v) = %#v, want a *ForbiddenError, private %v", allowPrivate, err, tc.want == private)
				}
			}
		})
	}
}

func TestCheckRefusesWhatIsNotTCP(t *testing.T) {
	for _, network := range []string{"unix", "udp4", "ip4:icmp"} {
		if check(network, "8.8.8.8:443", true) == nil {
			t.Errorf("%s is allowed", network)
		}
	}
}

func TestDialContextRefusesBeforeAConnectionIsMade(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	// A name is judged by what it resolves to.
	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, err = DialContext(false)(context.Background(), "tcp", net.JoinHostPort(host, port))
		var forbidden *ForbiddenError
		if !errors.As(err, &forbidden) || !forbidden.Private || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("dial %s: %v, want a refusal of a loopback address", host, err)
		}
	}

	conn, err := DialContext(true)(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("dial with private addresses allowed: %v", err)
	}
	conn.Close()

	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
}
