package containment

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify/test/hostile/lab"
)

func digestOf(data []byte) digest.Digest { return digest.FromBytes(data) }

// challenges ask for a credential in ways that a careless client follows.
func (w *world) challenges() []*arena {
	at := func(name string, may bool, value func(a *arena) []string) *arena {
		return &arena{kind: "challenge", name: name, may: may, build: func(a *arena) error {
			a.host.SetScript(lab.On(lab.Resolve, func(x *lab.Exchange) {
				if a.tokens.Accept(x.Authorization(), "") {
					lab.Correct(x)
					return
				}
				answer := lab.Text(http.StatusUnauthorized, "unauthorized")
				answer.Header["Www-Authenticate"] = value(a)
				x.Send(answer)
			}))
			return nil
		}}
	}
	own := func(a *arena) string { return "https://" + a.at + tokenPath }
	away := lab.Bearer(w.stranger.URL(tokenPath), "registry", "")
	return []*arena{
		at("for another service and other repositories", true, func(a *arena) []string {
			return []string{lab.Bearer(own(a), "somebody-else.example", "repository:other/app:pull,push,delete registry:catalog:*")}
		}),
		at("of two lines, a stranger's second", false, func(*arena) []string { return []string{"Negotiate", away} }),
		at("of one line, a stranger's second", false, func(*arena) []string { return []string{"Negotiate, " + away} }),
		at("with two realms, a stranger's second", true, func(a *arena) []string {
			return []string{fmt.Sprintf(`Bearer realm=%q,realm=%q,service="registry"`, own(a), w.stranger.URL(tokenPath))}
		}),
		at("with two realms, a stranger's first", false, func(a *arena) []string {
			return []string{fmt.Sprintf(`Bearer realm=%q,realm=%q,service="registry"`, w.stranger.URL(tokenPath), own(a))}
		}),
		at("with a realm in a quoted service", true, func(a *arena) []string {
			return []string{fmt.Sprintf(`Bearer service="x\",realm=\"%s",realm=%q`, w.stranger.URL(tokenPath), own(a))}
		}),
		at("with a line feed", false, func(*arena) []string { return []string{"Basic\r\n " + away} }),
		at("for a password in the clear, and a realm elsewhere", false, func(*arena) []string {
			return []string{`Basic realm="` + w.stranger.URL("") + `"`}
		}),
		w.cdnChallenge("Basic", `Basic realm="registry"`),
		w.cdnChallenge("Bearer", lab.Bearer(w.stranger.URL(tokenPath), "registry", "")),
		w.cdnChallenge("Bearer, of the registry's own token server", ""),
		{kind: "allowed", name: "blob by the CDN, which gets no credential", login: elsewhere, must: true, build: func(a *arena) error {
			path := "/blob/" + a.host.Port()
			a.host.SetScript(lab.On(lab.Blob, func(x *lab.Exchange) {
				body := x.Correct()
				w.onPath(path, func(cdn *lab.Exchange) { cdn.Send(body) })
				lab.RedirectTo("https://" + w.name(w.cdn) + path)(x)
			}))
			return nil
		}},
	}
}

// cdnChallenge has the host to which a redirect may lead ask for a credential: it is for the registry and not for it.
func (w *world) cdnChallenge(name, value string) *arena {
	return &arena{kind: "challenge", name: "of the CDN, " + name, build: func(a *arena) error {
		path := "/asks/" + a.host.Port()
		if value == "" {
			value = lab.Bearer("https://"+a.at+tokenPath, "registry", "repository:app:pull")
		}
		w.onPath(path, lab.Challenge(value))
		a.host.SetScript(lab.On(lab.Blob, lab.RedirectTo("https://"+w.name(w.cdn)+path)))
		return nil
	}}
}

// credentials are the scripts of who gives and who passes on credentials.
func (w *world) credentials() []*arena {
	return append(append(append(w.tokenAnswers(), w.proxies()...), w.programs()...), w.tenants()...)
}

// tokenAnswers hold credentials where none belong, or none where one belongs.
func (w *world) tokenAnswers() (all []*arena) {
	for _, answer := range []struct {
		name string
		make func(secret string) lab.Answer
	}{
		{"the password for a token", func(secret string) lab.Answer { return lab.Text(http.StatusOK, `{"token":"`+secret+`"}`) }},
		{"a token of two lines", func(secret string) lab.Answer {
			return lab.Text(http.StatusOK, `{"token":"`+secret+`\r\nX-Leak: `+secret+`"}`)
		}},
		{"a token of another type", func(secret string) lab.Answer { return lab.Text(http.StatusOK, `{"token":{"`+secret+`":1}}`) }},
		{"no JSON", func(secret string) lab.Answer { return lab.Text(http.StatusOK, secret) }},
		{"JSON that breaks off", func(secret string) lab.Answer { return lab.Text(http.StatusOK, `{"token":"`+secret) }},
		{"a life that is no number", func(secret string) lab.Answer {
			return lab.Text(http.StatusOK, `{"token":"x","expires_in":"`+secret+`"}`)
		}},
		{"a token of a mebibyte", func(secret string) lab.Answer {
			return lab.Text(http.StatusOK, `{"token":"`+strings.Repeat(secret, 1<<15)+`"}`)
		}},
		{"an error that repeats the password", func(secret string) lab.Answer {
			return lab.Text(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password `+secret+`","detail":"`+secret+`"}]}`).With("Content-Type", "application/json")
		}},
		{"an error of the server that repeats it", func(secret string) lab.Answer {
			return lab.Text(http.StatusInternalServerError, `{"details":"`+secret+`"}`).With("Content-Type", "application/json")
		}},
		{"a challenge of its own", func(secret string) lab.Answer {
			return lab.Text(http.StatusUnauthorized, "").With("Www-Authenticate", lab.Bearer(w.stranger.URL("/"+secret), secret, secret))
		}},
	} {
		for _, how := range []login{byToken, elsewhere} {
			all = append(all, &arena{kind: "token answer", name: answer.name, login: how, build: func(a *arena) error {
				script := func(x *lab.Exchange) { x.Send(answer.make(a.password.Value)) }
				a.host.SetScript(lab.On(lab.Token, script))
				w.onPath(tokenPath+"/"+a.host.Port(), script)
				return nil
			}})
		}
	}
	return all
}

// proxies are between the program and a registry. What is for the registry is not for them, nor theirs for it. To the loopback
// interface no proxy is ever asked, so they need a cell.
func (w *world) proxies() (all []*arena) {
	if !w.cell {
		return nil
	}
	for _, proxy := range []struct {
		name   string
		script func(a *arena, password string) lab.Script
	}{
		{"that repeats its password", func(_ *arena, password string) lab.Script {
			return func(x *lab.Exchange) {
				x.Send(lab.Text(http.StatusBadGateway, password+" "+x.Header.Get("Proxy-Authorization")))
			}
		}},
		{"that repeats it in words of a status", func(_ *arena, password string) lab.Script {
			return func(x *lab.Exchange) { x.Raw([]byte("HTTP/1.1 407 " + password + "\r\nContent-Length: 0\r\n\r\n")) }
		}},
		{"that asks for the registry's password", func(*arena, string) lab.Script {
			return lab.Status(http.StatusUnauthorized, "Www-Authenticate", `Basic realm="registry"`)
		}},
		{"that redirects", func(*arena, string) lab.Script { return lab.RedirectTo(w.stranger.URL("/")) }},
		{"that answers garbage", func(_ *arena, password string) lab.Script {
			return func(x *lab.Exchange) { x.Raw([]byte(password + "\r\n")) }
		}},
	} {
		all = append(all, &arena{kind: "proxy", name: proxy.name, unasked: true, build: func(a *arena) error {
			name := "proxy of " + a.host.Name
			password := w.lab.Plant("password of "+name, name)
			host, err := w.lab.Host(lab.HostOptions{Name: name, Plain: true, Script: proxy.script(a, password.Value)})
			a.entry = map[string]any{"proxy": "http://" + user + ":" + password.Value + "@" + host.Addr}
			return err
		}})
	}
	return all
}

// programs give credentials; what else they write is nobody's business.
func (w *world) programs() (all []*arena) {
	for _, helper := range []struct{ name, text string }{
		{"that gives the credential", `printf '{"Username":"%s","Secret":"%s"}' ` + user + ` SECRET; echo SECRET >&2`},
		{"that fails with the credential on its lips", `echo SECRET; echo SECRET >&2; exit 1`},
		{"whose answer is no JSON", `echo '{"Secret":SECRET'`},
		{"whose answer is too long", `head -c 200000 /dev/zero | tr '\0' 'x'; echo SECRET`},
	} {
		all = append(all, &arena{kind: "credential program", name: helper.name, may: true, unasked: true, build: func(a *arena) error {
			text := "#!/bin/sh\ncat >/dev/null\n" + strings.ReplaceAll(helper.text, "SECRET", a.password.Value) + "\n"
			path, err := w.lab.WriteFile("helper-"+a.host.Port(), []byte(text))
			if err != nil {
				return err
			}
			a.entry = map[string]any{"credentials": map[string]any{"helper": map[string]any{"name": path}}}
			return os.Chmod(path, 0o700)
		}})
	}
	return all
}

// tenants have pull secrets of their own, which an API server gives: one is for the tenant's own registry, and is tried with
// another's image, or by another tenant.
func (w *world) tenants() []*arena {
	return []*arena{
		{kind: "pull secret", name: "of the tenant, for the tenant's registry", namespace: "team-a", must: true, build: func(a *arena) error {
			return w.pullSecrets(a, map[string]map[string]*lab.Secret{"team-a": {a.at: a.password}})
		}},
		{kind: "pull secret", name: "of another tenant", namespace: "team-b", build: func(a *arena) error {
			return w.pullSecrets(a, map[string]map[string]*lab.Secret{"team-a": {a.at: a.password}, "team-b": {}})
		}},
		{kind: "pull secret", name: "of the tenant, for another registry", namespace: "team-a", build: func(a *arena) error {
			other := w.lab.Plant("pull secret for "+w.stranger.Name, w.stranger.Name)
			return w.pullSecrets(a, map[string]map[string]*lab.Secret{"team-a": {w.stranger.Addr: other}})
		}},
		{kind: "pull secret", name: "for a name that the registry's ends in", namespace: "team-a", build: func(a *arena) error {
			other := w.lab.Plant("pull secret for a longer name", "nobody")
			return w.pullSecrets(a, map[string]map[string]*lab.Secret{"team-a": {"x" + a.at: other, a.at + "0": other, "*." + a.at: other}})
		}},
		{kind: "pull secret", name: "of the cluster, for a tenant", namespace: "team-a", build: func(*arena) error { return nil }},
		{kind: "pull secret", name: "with an API server that repeats its token", namespace: "team-a", unasked: true, build: func(a *arena) error {
			return w.pullSecrets(a, nil)
		}},
	}
}

// pullSecrets gives an arena an API server that knows a pull secret for each namespace, whose entries are by host. Without any
// it answers with what it was asked.
func (w *world) pullSecrets(a *arena, of map[string]map[string]*lab.Secret) error {
	name := "API server of " + a.host.Name
	token := w.lab.Plant("token for the "+name, name)
	host, err := w.lab.Host(lab.HostOptions{Name: name, Script: func(x *lab.Exchange) {
		parts := strings.Split(x.Path, "/")
		if of == nil || len(parts) < 6 || of[parts[4]] == nil {
			x.Send(lab.Text(http.StatusForbidden, `{"message":"`+x.Authorization()+`"}`))
			return
		}
		x.Send(object(parts[5], of[parts[4]]))
	}})
	if err != nil {
		return err
	}
	file, err := w.lab.WriteFile("token-"+a.host.Port(), []byte(token.Value))
	if err != nil {
		return err
	}
	a.entry = map[string]any{"credentials": map[string]any{"pullSecrets": map[string]any{
		"apiServer": host.URL(""), "tokenFile": file, "caFile": w.lab.CAFile,
	}}}
	return nil
}

// object is a service account that names one pull secret, or that Secret.
func object(kind string, entries map[string]*lab.Secret) lab.Answer {
	if len(entries) == 0 {
		return lab.Text(http.StatusOK, `{}`)
	}
	if kind == "serviceaccounts" {
		return lab.Text(http.StatusOK, `{"imagePullSecrets":[{"name":"pull"}]}`)
	}
	auths := map[string]any{}
	for at, secret := range entries {
		auths[at] = map[string]any{"username": user, "password": secret.Value}
	}
	config, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return lab.Text(http.StatusInternalServerError, err.Error())
	}
	return lab.Text(http.StatusOK, `{"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"`+base64.StdEncoding.EncodeToString(config)+`"}}`)
}
