package main

// ofProvider are faults between Gatekeeper and the engine.
func ofProvider() []Mutant {
	const generation, wire, pkg = "provider/generation.go", "provider/wire.go", "./provider"
	return []Mutant{
		{Fault: "an answer may be of an old configuration for ever", Class: CacheOutlives, File: generation, Package: pkg, Run: "^(TestConfigurationWhileWaitingForAPlace|TestConfigurationsInARow)$",
			Old: "return at != nil && time.Since(*at) >= staleAfter", New: "return at != nil && time.Since(*at) >= 1000*staleAfter"},
		{Fault: "one tenant's verdict is another's", Class: CacheOutlives, File: generation, Package: pkg, Run: "^TestTenants$",
			Old: "return s.Namespace + \" \" + s.Repository + \"@\" + string(s.Digest)", New: "return s.Repository + \"@\" + string(s.Digest)"},
		{Fault: "a verdict of one repository is another's of the same digest", Class: CacheOutlives, File: generation, Package: pkg, Run: "^TestVerdictsAreApart$",
			Old: "return s.Namespace + \" \" + s.Repository + \"@\" + string(s.Digest)", New: "return s.Namespace + \" \" + string(s.Digest)"},
		{Fault: "a verdict is kept past the end of its certificate", Class: CacheOutlives, File: "provider/verdict.go", Package: pkg, Run: "^TestLifeOfAVerdict$",
			Old: "ttl = min(ttl, time.Unix(v.report.NotAfter, 0).Sub(now))", New: "ttl = max(ttl, time.Unix(v.report.NotAfter, 0).Sub(now))"},
		{Fault: "a verdict is kept past the next answer about revocation", Class: CacheOutlives, File: "provider/verdict.go", Package: pkg, Run: "^TestLifeOfAVerdict$",
			Old: "ttl = min(ttl, fresh.Sub(now))", New: "ttl = max(ttl, fresh.Sub(now))"},
		{Fault: "a panic while a verdict is made is no problem", Class: ErrorIsPass, File: "provider/generation.go", Package: pkg, Run: "^(TestPanicInAFlight|TestPanicsAreContained)$",
			Old: "f.verdict, f.err = nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf(\"panic: %v\", value)}", New: "_ = fmt.Sprint(value)"},
		{Fault: "what is known of some is answered beside a systemError", Class: ProtocolBroken, File: "provider/provider.go", Package: pkg, Run: "^(TestUnknownIsASystemError|TestSystemErrorIsOfTheProtocol)$",
			Old: "\t\tx.fail(resultSystemError, explain(answers)+\" (request \"+requestID+\")\")\n\t\treturn\n", New: "\t\tx.fail(resultSystemError, explain(answers)+\" (request \"+requestID+\")\")\n"},
		{Fault: "a key that could not be told is left out", Class: ProtocolBroken, File: "provider/provider.go", Package: pkg, Run: "^TestUnknownIsASystemError$",
			Old: "func(a answer) bool { return a.problem != nil }) {\n\t\tx.fail(", New: "func(a answer) bool { return a.problem != nil && a.key == \"\" }) {\n\t\tx.fail("},
		{Fault: "an empty systemError is sent", Class: ProtocolBroken, File: wire, Package: pkg, Run: "^(TestSystemErrorIsBounded|TestSystemErrorIsOfTheProtocol)$",
			Old: "if text == \"\" {\n\t\ttext = string(ratify.Internal)", New: "if text == \"\\x00\" {\n\t\ttext = string(ratify.Internal)"},
		{Fault: "a key has an item for each time that it was asked for", Class: ProtocolBroken, File: wire, Package: pkg, Run: "^TestDistinct$",
			Old: "if seen[key] || seen == nil && slices.Contains(unique, key) {", New: "if seen[key] {"},
		{Fault: "a request may have any number of keys", Class: WorkWithoutBound, File: wire, Package: pkg, Run: "^TestBadRequests$",
			Old: "case len(keys) > maxKeys:", New: "case len(keys) > 1000*maxKeys:"},
		{Fault: "data after a request is overlooked", Class: TwoReadings, File: wire, Package: pkg, Run: "^TestBadRequests$",
			Old: "if _, err = r.d.Token(); !errors.Is(err, io.EOF) {", New: "if _, err = r.d.Token(); err != nil && !errors.Is(err, io.EOF) {"},
		{Fault: "a field of a request may be there twice", Class: TwoReadings, File: wire, Package: pkg, Run: "^TestBadRequests$",
			Old: "if seen[folded] {", New: "if seen[folded] && folded == \"\" {"},
		{Fault: "a request of another version is answered", Class: ProtocolBroken, File: wire, Package: pkg, Run: "^TestBadRequests$",
			Old: "case version != apiVersion:", New: "case version == \"\":"},
		{Fault: "another kind of request is answered", Class: ProtocolBroken, File: wire, Package: pkg, Run: "^TestBadRequests$",
			Old: "case kind != requestKind:", New: "case kind == \"\":"},
		{Fault: "a client certificate of another name is let in", Class: NotEnforced, File: "provider/tls.go", Package: pkg, Run: "^TestClientCertificates$",
			Old: "\treturn fmt.Errorf(\"the client certificate of %s has none of the names that may ask: %s\",", New: "\tif len(t.options.ClientNames) > 0 {\n\t\treturn nil\n\t}\n\treturn fmt.Errorf(\"the client certificate of %s has none of the names that may ask: %s\","},
		{Fault: "a connection outlives the client CA that let it in", Class: CacheOutlives, File: "provider/tls.go", Package: pkg, Run: "^TestAdmissionHolds$",
			Old: "return a != nil && a.by == c && !now.Before(a.from)", New: "return a != nil && !now.Before(a.from)"},
		{Fault: "a connection outlives its client certificate", Class: Expired, File: "provider/tls.go", Package: pkg, Run: "^TestAdmissionHolds$",
			Old: "!now.Before(a.from) && !now.After(a.to)", New: "!now.Before(a.from)"},
		{Fault: "a replaced client CA or pair is not noticed", Class: CacheOutlives, File: "provider/tls.go", Package: pkg, Run: "^TestTLSReload$",
			Old: "!time.Now().Before(look.again) || look.files.Changed()", New: "!time.Now().Before(look.again)"},
		{Fault: "a file of client CAs that is half written comes into force", Class: TwoReadings, File: "provider/tls.go", Package: pkg, Run: "^TestTLSAtStart$",
			Old: "\tcase left != 0:\n", New: "\tcase left < 0:\n"},
		{Fault: "TLS 1.2 is spoken", Class: NotEnforced, File: "provider/tls.go", Package: pkg, Run: "^TestOldTLSIsRefused$",
			Old: "\t\tMinVersion:   tls.VersionTLS13,\n\t\tCertificates: []tls.Certificate{pair},", New: "\t\tMinVersion:   tls.VersionTLS12,\n\t\tCertificates: []tls.Certificate{pair},"},
		{Fault: "any number of requests waits", Class: WorkWithoutBound, File: "provider/provider.go", Package: pkg, Run: "^TestPlacesOfAProvider$",
			Old: "newShares(maxWaiting,", New: "newShares(1000*maxWaiting,"},
		{Fault: "strangers may take all places from who is of use", Class: WorkWithoutBound, File: "provider/shares.go", Package: pkg, Run: "^TestEarned$",
			Old: "reserve = s.places / reservedPart", New: "reserve = 0 * reservedPart"},
		{Fault: "one registry may have all places", Class: WorkWithoutBound, File: "provider/shares.go", Package: pkg, Run: "^TestShares$",
			Old: "case ours.held-ours.reserved >= shareFactor*common:", New: "case ours.held-ours.reserved >= 1000*shareFactor*common:"},
		{Fault: "who cannot be served in time is not told so at once", Class: WorkWithoutBound, File: generation, Package: pkg, Run: "^TestTripleLoad$",
			Old: "return &ratify.Error{Code: ratify.Overloaded, Message: \"what waits for the same registry takes longer than there is time\"}", New: "return nil"},
		{Fault: "a mutation that could not be told gives the reference as it was", Class: OtherThingRun, File: "provider/operations.go", Package: pkg, Run: "^TestMutateNeverGivesTheUnpinnedReference$",
			Old: "\ta := answer{problem: problem, report: mutationReport(g, s, problem)}", New: "\ta := answer{problem: problem, report: mutationReport(g, s, problem)}\n\tif g != nil {\n\t\treturn answer{pinned: s.String(), report: a.report}\n\t}"},
		{Fault: "a key is shown with what a terminal obeys", Class: SecretShown, File: wire, Package: pkg, Run: "^TestSystemErrorNamesTheUnknown$",
			Old: "if quoted := ratify.Quote(key); quoted != `\"`+key+`\"` {\n\t\treturn quoted\n\t}\n\treturn key", New: "return key"},
	}
}

// ofCache are faults in what is kept.
func ofCache() []Mutant {
	const file, pkg = "internal/cache/cache.go", "./internal/cache"
	return []Mutant{
		{Fault: "an entry has no end", Class: CacheOutlives, File: file, Package: pkg,
			Old: "if !ok || c.left(e.ends, now) <= 0 {", New: "if !ok {"},
		{Fault: "a clock that is set back makes entries live longer", Class: CacheOutlives, File: file, Package: pkg,
			Old: "return min(m.steady-now.Sub(c.began), time.Duration(m.wall-now.UnixNano()))", New: "return time.Duration(m.wall - now.UnixNano())"},
		{Fault: "the cache has no bound in bytes", Class: WorkWithoutBound, File: file, Package: pkg,
			Old: "room := len(c.byKey) < c.maxEntries && c.bytes+size <= c.maxBytes", New: "room := len(c.byKey) < c.maxEntries"},
		{Fault: "content is believed without its digest", Class: OtherThingRun, File: "internal/blobs/disk.go", Package: "./internal/blobs", Run: "^TestSpoiltFiles$",
			Old: "if want.Algorithm().FromBytes(data) != want {", New: "if want.Algorithm().FromBytes(data) == \"\" {"},
	}
}

// ofMemory are faults in how memory is shared out.
func ofMemory() []Mutant {
	return []Mutant{
		{Fault: "one sender may hold all the memory that there is for answers", Class: WorkWithoutBound, File: "internal/inflight/inflight.go", Package: "./internal/inflight", Run: "^TestOneAloneHasThreeQuarters$",
			Old: "> shareFactor*(b.free-bytes) {", New: "> 1000*shareFactor*(b.free-bytes) {"},
	}
}

// ofLastKnownGood are faults in what is admitted while a registry is away.
func ofLastKnownGood() []Mutant {
	const file, pkg = "provider/lastgood.go", "./provider"
	return []Mutant{
		{Fault: "the last known good stands where access was taken away", Class: NotEnforced, File: file, Package: pkg, Run: "^TestLastKnownGood$",
			Old: "case ratify.RegistryUnavailable, ratify.RateLimited,", New: "case ratify.RegistryUnavailable, ratify.RegistryAuth, ratify.RateLimited,"},
		{Fault: "the last known good stands where nobody asked for it", Class: NotEnforced, File: "engine.go", Package: pkg, Run: "^TestLastKnownGoodIsOff$",
			Old: "return time.Duration(policy.LastKnownGood)\n", New: "return max(time.Duration(policy.LastKnownGood), time.Hour)\n"},
		{Fault: "the last known good outlives a refusal of its evidence", Class: CacheOutlives, File: file, Package: pkg, Run: "^TestRefusedSince$",
			Old: "!slices.Contains(before.refused, piece) {\n\t\tw.g.verdicts.Delete(w.key)\n", New: "!slices.Contains(before.refused, piece) {\n\t\t_ = w.g\n"},
		{Fault: "a report of the last known good does not say so", Class: NotEnforced, File: "report.go", Package: ".", Run: "^TestStand$",
			Old: "r.Stale, r.StaleCode, r.VerifiedAt = true, problem.Code, r.Timestamp", New: "r.Stale, r.StaleCode, r.VerifiedAt = false, problem.Code, r.Timestamp"},
		{Fault: "a report of the last known good has no end of its own", Class: CacheOutlives, File: "report.go", Package: ".", Run: "^TestStand$",
			Old: "r.NotAfter, r.FreshUntil = min(r.NotAfter, end.Unix()), now", New: "r.NotAfter, r.FreshUntil = max(r.NotAfter, end.Unix()), now"},
	}
}
