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
		{"[::ffff:10.0.0.1]:443", private},
		{"[64:ff9b::10.0.0.1]:443", private},
		{"[64:ff9b::c0a8:1]:443", private},
		{"[2002:c0a8:1::]:443", private},
		{"[2002:a00:1::7f00:1]:443", private},
		{"[64:ff9b::e000:1]:443", never},
		{"[64:ff9b::ffff:ffff]:443", never},
		{"[64:ff9b::]:443", never},
		{"[2002::]:443", never},
		{"[2002:e000:1::]:443", never},
		{"[64:ff9b::6464:64c8]:443", never},
		{"[64:ff9b::a83f:8110]:443", never},
		{"[::ffff:168.63.129.16]:443", never},
		{"[::ffff:0:7f00:1]:443", never}, // SIIT, RFC 2765
		{"[::1%lo]:443", private},
		{"[::ffff:127.0.0.1%lo]:443", private},
		{"[fd00:ec2::254%eth0]:80", never},
		{"[febf::1]:80", never},
		{"[feff::1]:443", private},
		{"[fbff::1]:443", never},
		{"[fdff:ffff::1]:443", private},
		{"[4000::1]:443", never},
		{"100.63.255.255:443", public},
		{"100.127.255.255:443", private},
		{"100.128.0.1:443", public},
		{"172.15.255.255:443", public},
		{"172.32.0.1:443", public},
		{"192.0.1.1:443", public},
		{"192.0.0.8:443", private},
		{"198.17.255.255:443", public},
		{"198.18.0.1:443", private},
		{"198.20.0.1:443", public},
		{"223.255.255.255:443", public},
		{"239.255.255.255:443", never},
		{"254.255.255.255:443", private},
		{"255.255.255.254:443", private},
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

func TestCheckHostJudgesWhatAProxyResolves(t *testing.T) {
	for host, want := range map[string]verdict{
		"registry.example": public, "8.8.8.8": public, "[2606:4700::1]": public, "1.example": public, "0x7f.example": public, "localhost.example": public, "xlocalhost": public,
		"127.0.0.1": private, "[::1]": private, "[::ffff:10.0.0.1]": private, "10.0.0.1": private, "localhost": private, "LOCALHOST": private, "localhost.": private, "a.localhost": private,
		"127.0.0.1.":      private,
		"169.254.169.254": never, "[fe80::1%25eth0]": never, "[fe80::1%eth0]": never, "[::ffff:169.254.169.254]": never,
		"127.1": never, "127.0.1": never, "2130706433": never, "0x7f000001": never, "0x7f.0.0.1": never, "0X7F.1": never, "0177.0.0.1": never, "017700000001": never,
		"2852039166": never, "0xa9.0xfe.0xa9.0xfe": never, "127.0.0.0x1": never, "1.2.3.4.5": never, "256.1.1.1": never, "99999999999999": never, "0x": never, "127.1.": never,
		"metadata.google.internal": never, "Metadata.Google.Internal.": never, "[::1": private, "1::2::3": never,
	} {
		for allowPrivate, allowed := range map[bool]bool{false: want == public, true: want != never} {
			err := CheckHost(host, allowPrivate)
			var forbidden *ForbiddenError
			if (err == nil) != allowed || err != nil && (!errors.As(err, &forbidden) || forbidden.Private != (want == private)) {
				t.Errorf("CheckHost(%q, %t) = %v, want allowed %t", host, allowPrivate, err, allowed)
			}
		}
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
