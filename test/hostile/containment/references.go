package containment

import (
	"net"
	"strings"

	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// references are images whose name alone is the script: the registry is where nobody may go.
func (w *world) references() (all []*arena) {
	add := func(name, key string) {
		all = append(all, &arena{kind: "reference", name: name, key: key})
	}
	at := port(w.canary.Addr)
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "0.0.0.0", "[::]", "[::127.0.0.1]",
		"user@127.0.0.1", "user:word@127.0.0.1",
	} {
		add("loopback as "+host, host+":"+at+"/app:v1")
	}
	add("a way out of the path", "127.0.0.1:"+at+"/../app:v1")
	add("an address with a scheme", "https://127.0.0.1:"+at+"/app:v1")
	if !w.cell {
		add("another host, which the configuration does not know", w.stranger.Addr+"/app:v1")
		return all
	}
	for _, host := range []string{
		"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "loopback.example", "127.0.0.1.", "localhost.",
		"169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "2852039166", "0xa9fea9fe", "metadata.example", "metadata.google.internal",
		"10.0.0.1", "private.example", "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1", "255.255.255.255", "100.100.100.200",
	} {
		add("as "+host, host+":443/latest/meta-data:v1")
		add("as "+host+", port 80", host+":80/latest/meta-data:v1")
	}
	return all
}

// rebinding are names that resolve to a public address when it is looked at, and to another when it is dialled. All are of
// one port, at which a canary listens on each of the other addresses.
func (w *world) rebinding() (all []*arena) {
	for _, name := range []string{"loopback", "metadata", "private", "mapped", "unspecified"} {
		for _, when := range []string{"then", "at-once", "before"} {
			all = append(all, &arena{kind: "rebinding", name: name + " " + when, login: anonymous, may: when == "at-once", unasked: when == "before", names: []string{name + "-" + when + rebindDomain}, build: func(a *arena) error {
				host := a.names[0]
				for _, address := range []string{"127.0.0.1", lab.MetadataAddress, lab.PrivateAddress} {
					if _, err := w.lab.Canary("where "+host+" leads", net.JoinHostPort(address, a.host.Port())); err != nil {
						return err
					}
				}
				a.at = net.JoinHostPort(host, a.host.Port())
				a.key = a.image.At(a.at)
				// Each request needs a connection of its own, and so the name again.
				a.host.SetScript(func(x *lab.Exchange) { x.Send(x.Correct().With("Connection", "close")) })
				return nil
			}})
		}
	}
	return all
}

// rebind is what the resolver says of such a name: first the registry and then the address that is wanted; both at once; or
// the wanted address from the start.
func rebind(q lab.Question, at func(...string) lab.Names) lab.Names {
	kind, when, _ := strings.Cut(strings.TrimSuffix(q.Name, rebindDomain), "-")
	wanted := map[string]string{
		"loopback": "127.0.0.1", "metadata": lab.MetadataAddress, "private": lab.PrivateAddress, "mapped": "::ffff:127.0.0.1", "unspecified": "0.0.0.0",
	}[kind]
	switch {
	case wanted == "":
		return lab.Names{}
	case when == "at-once":
		return at(wanted, lab.PublicAddress(1))
	case when == "then" && q.N == 1:
		return at(lab.PublicAddress(1))
	}
	return at(wanted)
}
