package main

// ofStores are faults in what is read of a registry.
func ofStores() []Mutant {
	const file, pkg = "store/oras/repository.go", "./store/oras"
	return []Mutant{
		{Fault: "a body of another digest is content", Class: OtherThingRun, File: "internal/content/read.go", Package: "./internal/content",
			Old: "case digest.NewDigest(desc.Digest.Algorithm(), hash) != desc.Digest:", New: "case digest.NewDigest(desc.Digest.Algorithm(), hash) == \"\":"},
		{Fault: "what is longer than is read is taken for the whole", Class: TwoReadings, File: "internal/content/read.go", Package: "./internal/content",
			Old: "case int64(len(data)) > limit:", New: "case int64(len(data)) > limit+1:"},
		{Fault: "what somebody else wrote is read without a bound", Class: Endless, File: "internal/content/read.go", Package: "./internal/content",
			Old: "io.LimitReader(r, limit+1)", New: "io.LimitReader(r, 1000*limit+1)"},
		{Fault: "a manifest of another digest is the one asked for", Class: OtherThingRun, File: file, Package: pkg, Run: "^(TestFaultyRegistry|TestMaliciousRegistry)$",
			Old: "if wanted != \"\" && algorithm.FromBytes(data) != wanted {", New: "if wanted != \"\" && algorithm.FromBytes(data) == \"\" {"},
		{Fault: "content of another size is the descriptor's", Class: BadSize, File: "internal/content/content.go", Package: "./internal/content",
			Old: "case size != desc.Size:", New: "case size < 0:"},
		{Fault: "a manifest of another media type is the descriptor's", Class: TwoReadings, File: "internal/content/content.go", Package: "./internal/content",
			Old: "case ratify.IsManifest(desc.MediaType) && !HasMediaType(data, desc.MediaType):", New: "case size < 0:"},
		{Fault: "a descriptor may have a negative size", Class: BadSize, File: "internal/content/content.go", Package: "./internal/content",
			Old: "case desc.Size < 0:", New: "case desc.Size < -1<<62:"},
		{Fault: "a descriptor may have any size", Class: BadSize, File: "internal/content/content.go", Package: "./internal/content",
			Old: "case desc.Size > Bound(desc):", New: "case desc.Size > 1000*Bound(desc):"},
		{Fault: "an index may have two lists", Class: TwoReadings, File: "internal/content/index.go", Package: "./internal/content",
			Old: "\t\t\tif listed {\n", New: "\t\t\tif listed && len(index.Manifests) == 0 {\n"},
		{Fault: "pages of referrers have no end", Class: Endless, File: file, Package: pkg, Run: "^TestMaliciousRegistry$",
			Old: "if len(asked) == maxPages || asked[next] {", New: "if len(asked) == 100*maxPages {"},
		{Fault: "the next page is wherever the registry says", Class: CredentialLeak, File: file, Package: pkg, Run: "^TestMaliciousRegistry$",
			Old: "if u.User != nil || origin(u) != r.session.origin || !strings.HasPrefix(u.EscapedPath(), \"/v2/\"+r.path+\"/\") || strings.Contains(u.Path, \"..\") {", New: "if u.User != nil {"},
		{Fault: "a page that is missing is the end of the list", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestFaultyRegistry$",
			Old: "if isNotFound(err) && len(asked) > 1 {", New: "if isNotFound(err) && len(asked) > 1000 {"},
		{Fault: "a 404 of the token server says that there are no referrers", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestFailuresOfTheTokenServer$",
			Old: "return errors.As(err, &s) && s.status == http.StatusNotFound && !s.token", New: "return errors.As(err, &s) && s.status == http.StatusNotFound"},
		{Fault: "a list that is not there is an empty one", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestFaultyRegistry$",
			Old: "if mediaTypeOf(resp) != ocispec.MediaTypeImageIndex {\n\t\t\t\treturn r.mismatch(\"an index of referrers\")", New: "if mediaTypeOf(resp) != ocispec.MediaTypeImageIndex {\n\t\t\t\treturn nil"},
		{Fault: "a compressed body is taken", Class: Endless, File: "store/oras/session.go", Package: pkg, Run: "^TestMaliciousRegistry$",
			Old: "encoding != \"\" && !strings.EqualFold(encoding, \"identity\") {", New: "encoding == \"\\x00\" {"},
		{Fault: "redirects have no end", Class: Endless, File: "store/oras/session.go", Package: pkg, Run: "^TestMaliciousRegistry$",
			Old: "case len(via) > maxRedirects:", New: "case len(via) > 100*maxRedirects:"},
		{Fault: "a token's answer has no bound", Class: WorkWithoutBound, File: "store/oras/token.go", Package: pkg, Run: "^TestFailuresOfTheTokenServer$",
			Old: "content.Read(resp.Body, maxTokenAnswerBytes)", New: "content.Read(resp.Body, 1000*maxTokenAnswerBytes)"},
		{Fault: "credentials go along with a redirect", Class: CredentialLeak, File: "store/oras/session.go", Package: pkg, Run: "^TestAllowedRedirectCarriesNoCredentials$",
			Old: "\tif !isToken && !s.isRegistry(req.URL) {\n\t\tdelete(sent.Header, \"Authorization\")", New: "\tif !isToken && !s.isRegistry(req.URL) {\n\t\tsent.Header.Set(\"Authorization\", \"Basic \"+s.cred.Password)"},
		{Fault: "a token server may be anywhere", Class: CredentialLeak, File: "store/oras/session.go", Package: pkg, Run: "^TestMaliciousRegistry$",
			Old: "if (secure || plain) && matchAny(s.authHosts, u) {", New: "if secure || plain || matchAny(s.authHosts, u) {"},
		{Fault: "a redirect may lead anywhere", Class: DialedElsewhere, File: "store/oras/session.go", Package: pkg, Run: "^(TestTokenServerIsNoRedirectHost|TestAllow)$",
			Old: "if secure && matchAny(s.redirectHosts, u) {", New: "if secure || matchAny(s.redirectHosts, u) {"},
		{Fault: "an address may have a user name in it", Class: CredentialLeak, File: "store/oras/session.go", Package: pkg, Run: "^(TestMaliciousRegistry|TestAllow)$",
			Old: "\tif u.User != nil {\n\t\treturn &ratify.Error{", New: "\tif u.User != nil && u.Host == \"\" {\n\t\treturn &ratify.Error{"},
		{Fault: "a token server redirects to another", Class: CredentialLeak, File: "store/oras/session.go", Package: pkg, Run: "^(TestFailuresOfTheTokenServer|TestMaliciousRegistry|TestWhoGetsACredential)$",
			Old: "if isToken && resp.StatusCode/100 == 3 {", New: "if isToken && resp.StatusCode/100 == 33 {"},
		{Fault: "a pattern of hosts holds those that end alike", Class: CredentialLeak, File: "store/oras/hosts.go", Package: pkg, Run: "^TestMostSpecificEntryWins$",
			Old: "name = name[1:]\n", New: "name = name[2:]\n"},
		{Fault: "a token is shared by all credentials", Class: CredentialLeak, File: "store/oras/token.go", Package: pkg, Run: "^TestPoolOutlivesAStore$",
			Old: "return listhash.Sum(c.key, registry, scheme.String(), key)", New: "return listhash.Sum(registry, scheme.String(), key)"},
		{Fault: "a refused credential is tried again at once", Class: WorkWithoutBound, File: "store/oras/session.go", Package: pkg, Run: "^TestRefusedCredentialRests$",
			Old: "\ts.pool.refused.Set(key, e, s.pool.refusedFor)", New: "\ts.pool.refused.Set(key, e, 0)"},
		{Fault: "private addresses are public ones", Class: DialedElsewhere, File: "internal/netguard/netguard.go", Package: "./internal/netguard", Run: "^TestCheckJudgesTheAddressThatIsDialled$",
			Old: "if verdict == public || verdict == private && allowPrivate {", New: "if verdict == public || verdict == private {"},
		{Fault: "link-local addresses may be allowed", Class: DialedElsewhere, File: "internal/netguard/netguard.go", Package: "./internal/netguard", Run: "^TestCheckJudgesTheAddressThatIsDialled$",
			Old: "table(\"link-local\", never, \"169.254.0.0/16\"", New: "table(\"link-local\", private, \"169.254.0.0/16\""},
		{Fault: "an address within an address is not looked at", Class: DialedElsewhere, File: "internal/netguard/netguard.go", Package: "./internal/netguard", Run: "^TestCheckJudgesTheAddressThatIsDialled$",
			Old: "addr = addr.WithZone(\"\").Unmap()\n", New: "addr = addr.WithZone(\"\")\n"},
		{Fault: "what a registry wrote of an error is shown as it is", Class: SecretShown, File: "store/oras/failure.go", Package: pkg, Run: "^(TestWordsForFailuresOfTheNetwork|TestWordsOfServersAreInNoError)$",
			Old: "\tif isOwn(e.err) {\n\t\treturn ratify", New: "\tif e.err != nil {\n\t\treturn ratify"},
		{Fault: "a layout's blob of another digest is content", Class: OtherThingRun, File: "store/ocilayout/ocilayout.go", Package: "./store/ocilayout",
			Old: "if d.Algorithm().FromBytes(data) != d {", New: "if d.Algorithm().FromBytes(data) == \"\" {"},
	}
}

// ofBreaker are faults in what keeps requests from servers that are away.
func ofBreaker() []Mutant {
	const file, pkg = "store/oras/breaker.go", "./store/oras"
	return []Mutant{
		{Fault: "a registry that is away is asked for ever", Class: WorkWithoutBound, File: file, Package: pkg, Run: "^TestServerThatIsAway$",
			Old: "b.failures < tripAfter ||", New: "b.failures < 1000000*tripAfter ||"},
		{Fault: "a registry is taken for away although it gives a sign of life", Class: StrangerDecides, File: file, Package: pkg, Run: "^TestBadRepositoryOpensNoBreaker$",
			Old: "\t\tif o == gotFailure {\n\t\t\tb.fail(now, words, remedy)\n\t\t\tb.open,", New: "\t\tif o == gotFailure || o == gotAnswer {\n\t\t\tb.fail(now, words, remedy)\n\t\t\tb.open,"},
		{Fault: "an answer clears nobody", Class: StrangerDecides, File: file, Package: pkg, Run: "^(TestServerThatIsAway|TestAnswersOpenNoBreaker|TestOutcomeOfARequest|TestBreakerIsForgotten)$",
			Old: "\tcase o == gotAnswer:\n\t\tchange = all.remove(g.key, b)\n", New: "\tcase o == gotAnswer && b == nil:\n\t\tchange = all.remove(g.key, b)\n"},
		{Fault: "a server that is away is never probed", Class: WorkWithoutBound, File: file, Package: pkg, Run: "^TestServerThatIsAway$",
			Old: "if b.probe == nil && !time.Now().Before(b.next) {", New: "if b.probe == nil && b.next.IsZero() {"},
		{Fault: "what this machine lacks is the server's fault", Class: StrangerDecides, File: file, Package: pkg, Run: "^TestOutcomeOfARequest$",
			Old: "errors.As(err, &forbidden) || isLocal(err) {", New: "errors.As(err, &forbidden) {"},
	}
}

// ofCredentials are faults in who gets which credential.
func ofCredentials() []Mutant {
	const source, ring, secrets = "store/oras/source.go", "internal/keyring/pattern.go", "internal/pullsecret/pullsecret.go"
	return []Mutant{
		{Fault: "a tenant's images are read with the cluster's credentials", Class: CredentialLeak, File: source, Package: "./store/oras", Run: "^TestTenantGetsNoCredentialOfTheCluster$",
			Old: "case t.namespace != \"\" && !named && !s.tenants:", New: "case t.namespace != \"\" && !named && !s.tenants && t.host == \"\":"},
		{Fault: "a credential for some namespaces is for all", Class: CredentialLeak, File: source, Package: "./store/oras", Run: "^TestWhichSourceServes$",
			Old: "case named && !slices.ContainsFunc(", New: "case named && t.host == \"\" && !slices.ContainsFunc("},
		{Fault: "a credential for a repository is for those that begin alike", Class: CredentialLeak, File: source, Package: "./store/oras", Run: "^TestWhichSourceServes$",
			Old: "return strings.HasPrefix(t.path+\"/\", prefix+\"/\")", New: "return strings.HasPrefix(t.path, prefix)"},
		{Fault: "a credential of a pull secret is for paths that begin alike", Class: CredentialLeak, File: ring, Package: "./internal/keyring",
			Old: "!strings.HasPrefix(repository+\"/\", prefix+\"/\") {", New: "!strings.HasPrefix(repository, prefix) {"},
		{Fault: "a credential with a wildcard is for any port", Class: CredentialLeak, File: ring, Package: "./internal/keyring",
			Old: "if patternPort != port || len(patterns)", New: "if patternPort != port && port == \"\" || len(patterns)"},
		{Fault: "an answer of the API server has no bound", Class: WorkWithoutBound, File: secrets, Package: "./internal/pullsecret", Run: "^TestFailures$",
			Old: "content.Read(resp.Body, maxObjectBytes)", New: "content.Read(resp.Body, 1000*maxObjectBytes)"},
	}
}
