package main

// ofReferences are faults in what a reference means.
func ofReferences() []Mutant {
	const file, pkg = "subject.go", "."
	return []Mutant{
		{Fault: "a tag beside a digest makes another subject of it", Class: OtherThingRun, File: file, Package: pkg, Run: "^(TestAbsence|TestSpellingsAreOneSubject)$",
			Old: "\ts.Tag, s.Digest = \"\", d\n", New: "\ts.Digest = d\n"},
		{Fault: "a reference may hold what is not ASCII, or a control character", Class: OtherThingRun, File: file, Package: pkg, Run: "^TestParseKeyRefuses$",
			Old: "if key[i] <= ' ' || key[i] >= 0x7f {", New: "if key[i] == 0 {"},
		{Fault: "another spelling of docker.io is docker.io", Class: OtherThingRun, File: file, Package: pkg, Run: "^(TestParseKeyRefuses|TestParseKey)$",
			Old: "reference.Domain(named) != dockerHub\n", New: "reference.Domain(named) == \"\"\n"},
		{Fault: "a namespace prefix is taken where tenancy is off", Class: NotEnforced, File: "tenancy.go", Package: pkg, Run: "^TestKeysOfAnEngine$",
			Old: "\tif e.tenancy != nil {\n\t\treturn ParseTenantKey(key)\n\t}\n\treturn ParseKey(key)", New: "\treturn ParseTenantKey(key)"},
		{Fault: "a tenant whose policies are broken has the cluster's", Class: NotEnforced, File: "tenancy.go", Package: pkg, Run: "^TestTenantThatCouldNotBeLoaded$",
			Old: "invalid := e.tenancy.Invalid[s.Namespace]; invalid {", New: "invalid := e.tenancy.Invalid[s.Namespace]; invalid && s.Namespace == \"\" {"},
		{Fault: "a tenant without a policy is not refused although that is asked for", Class: NotEnforced, File: "tenancy.go", Package: pkg, Run: "^TestMostSpecificTenant$",
			Old: "\t\tif refuseWithoutPolicy {\n", New: "\t\tif refuseWithoutPolicy && s.Repository == \"\" {\n"},
		{Fault: "a scope below a path holds what begins alike", Class: OtherThingRun, File: "scope.go", Package: pkg, Run: "^TestScopeHolds$",
			Old: `return scope{text, scopeBelow, below + "/"}, nil`, New: `return scope{text, scopeBelow, below}, nil`},
		{Fault: "a scope of a domain holds hosts that end alike", Class: OtherThingRun, File: "scope.go", Package: pkg, Run: "^TestScopeHolds$",
			Old: `return scope{text, scopeDomain, "." + domain}, nil`, New: `return scope{text, scopeDomain, domain}, nil`},
		{Fault: "an exemption that has ended holds", Class: Expired, File: "exemption.go", Package: pkg, Run: "^TestExemptionsEnd$",
			Old: "return x.Expires.After(now) && slices.ContainsFunc(names", New: "return slices.ContainsFunc(names"},
		{Fault: "an exemption for digests is for all of the repository", Class: NotEnforced, File: "exemption.go", Package: pkg, Run: "^TestExemptions$",
			Old: "return inScope && inDigests && inNamespaces", New: "return inScope && (inDigests || true) && inNamespaces"},
		{Fault: "evidence is read at the mirror where the origin is asked for", Class: NotEnforced, File: "engine.go", Package: pkg, Run: "^TestMirrors$",
			Old: "mirror.Evidence == EvidenceAtOrigin {", New: "mirror.Evidence == \"\" {"},
		{Fault: "a mirror's name may stand for one that is not canonical", Class: OtherThingRun, File: "mirror.go", Package: pkg, Run: "^TestMirrors$",
			Old: "if err != nil || parsed.Repository != name {", New: "if err != nil && parsed.Repository != name {"},
	}
}

// ofEvidence are faults in what belongs to an image.
func ofEvidence() []Mutant {
	const file, pkg = "evidence.go", "."
	return []Mutant{
		{Fault: "evidence for another digest is the subject's", Class: NotBound, File: file, Package: pkg, Run: "^TestReadEvidence$",
			Old: "case m.Subject.Digest != subject.Digest || m.Subject.Size != subject.Size:", New: "case m.Subject.Size != subject.Size:"},
		{Fault: "evidence without a subject is anybody's", Class: NotBound, File: file, Package: pkg, Run: "^TestReadEvidence$",
			Old: "case m.Subject == nil:\n\t\treturn nil, &Error{Code: SubjectMismatch, Message: \"the evidence names no subject\"}", New: "case m.Subject == nil:\n\t\tm.Subject = &subject"},
		{Fault: "evidence of another kind is taken", Class: OtherKind, File: file, Package: pkg, Run: "^TestReadEvidenceOfAnotherKind$",
			Old: "known := slices.Contains(artifactTypes, foundType)", New: "known := slices.Contains(artifactTypes, foundType) || len(artifactTypes) > 0"},
		{Fault: "a manifest of the format before OCI is one of OCI", Class: TwoReadings, File: file, Package: pkg, Run: "^TestDescribeManifest$",
			Old: "if m.FSLayers != nil || (m.Layers != nil || m.Config != nil) && m.Manifests != nil {", New: "if (m.Layers != nil || m.Config != nil) && m.Manifests != nil {"},
		{Fault: "a manifest's media type need not agree with what it holds", Class: TwoReadings, File: file, Package: pkg, Run: "^TestDescribeManifest$",
			Old: "case isIndex(mediaType) && (m.Layers != nil || m.Config != nil), !isIndex(mediaType) && m.Manifests != nil:", New: "case mediaType == \"\":"},
		{Fault: "a name may be in a manifest twice", Class: TwoReadings, File: "names.go", Package: pkg, Run: "^TestNames$",
			Old: "case !seen.add(name):", New: "case !seen.add(name) && name == \"\":"},
		{Fault: "a field may be spelled in other letters", Class: TwoReadings, File: "names.go", Package: pkg, Run: "^TestNames$",
			Old: "case fields && isMisspelt(name):", New: "case fields && name == \"\":"},
		{Fault: "a layer may have a negative size", Class: BadSize, File: file, Package: pkg, Run: "^TestReadEvidence$",
			Old: "if layer.Size < 0 || layer.Digest.Validate() != nil {\n\t\t\treturn nil, invalidEvidence(\"a layer's", New: "if layer.Digest.Validate() != nil {\n\t\t\treturn nil, invalidEvidence(\"a layer's"},
		{Fault: "an evidence manifest may have any number of names", Class: Endless, File: file, Package: pkg, Run: "^(TestReadEvidenceOfALargeManifest|TestManyNames|TestReadEvidence)$",
			Old: "if bytes.Count(data, []byte{'\"'}) > maxEvidenceQuotes {", New: "if bytes.Count(data, []byte{'\"'}) < 0 {"},
		{Fault: "a list of descriptors is decoded whole", Class: Endless, File: file, Package: pkg, Run: "^TestIndexesThatAreOdd$",
			Old: "if len(list) == most {", New: "if len(list) > 100*most {"},
		{Fault: "a subject may be another manifest than the digest asked for", Class: OtherThingRun, File: "search.go", Package: pkg, Run: "^TestRegistryAnswersAnotherDigest$",
			Old: "if s.Digest != \"\" && desc.Digest != s.Digest {", New: "if s.Digest != \"\" && desc.Digest == \"\" {"},
	}
}

// ofDecisions are faults in how outcomes become a verdict.
func ofDecisions() []Mutant {
	const examination, require, pkg = "examination.go", "require.go", "."
	return []Mutant{
		{Fault: "any verifier is enough where all must pass", Class: NotEnforced, File: require, Package: pkg, Run: "^TestDecide$",
			Old: "case c.need > 0 && good >= c.need:", New: "case c.need > 0 && good >= 1:"},
		{Fault: "a verifier that is not there has passed", Class: ErrorIsPass, File: require, Package: pkg, Run: "^TestDecide$",
			Old: "if c.verifier < 0 || c.verifier >= len(verdicts) {\n\t\t\treturn refused", New: "if c.verifier < 0 || c.verifier >= len(verdicts) {\n\t\t\treturn passed"},
		{Fault: "what could not be told is refused for good", Class: ErrorIsPass, File: require, Package: pkg, Run: "^TestDecide$",
			Old: "\t\tdefault:\n\t\t\topen++\n", New: "\t\tdefault:\n"},
		{Fault: "a panic in a verifier is a pass", Class: ErrorIsPass, File: "engine.go", Package: pkg, Run: "^(TestPanicsAreTold|TestPanicOfOneVerifierLeavesTheOther)$",
			Old: "*err = &Error{Code: Internal, Err: fmt.Errorf(\"panic: %v\", value)}", New: "*err = nil\n\t\t_ = fmt.Sprint(value)"},
		{Fault: "a verifier that fails has passed", Class: ErrorIsPass, File: examination, Package: pkg, Run: "^TestModeAudit$",
			Old: "\tdefault:\n\t\tx.fail(s, v, p.evidence, err, proof)", New: "\tdefault:\n\t\tx.settle(s, v, p.evidence, Result{Passed: true}, proof)"},
		{Fault: "what has ended passes", Class: Expired, File: examination, Package: pkg, Run: "^(TestAbsence|TestNotAfter)$",
			Old: "if result.Passed && !result.NotAfter.IsZero() && !result.NotAfter.After(now) {", New: "if result.Passed && !result.NotAfter.IsZero() && now.IsZero() {"},
		{Fault: "a document that nobody vouches for is judged", Class: NotBound, File: examination, Package: pkg, Run: "^TestSignedBy$",
			Old: "err = x.prove(ctx, v, evidence, repo); err != nil || !p.proven {", New: "err = x.prove(ctx, v, evidence, repo); err != nil {"},
		{Fault: "a verifier that skips proves documents", Class: OtherKind, File: examination, Package: pkg, Run: "^TestSignedBy$",
			Old: "\t\t\tif policy.proves {\n", New: "\t\t\tif policy.proves && policy.rule != nil {\n"},
		{Fault: "a verifier that only logs proves documents", Class: NotEnforced, File: examination, Package: pkg, Run: "^TestSignedBy$",
			Old: "if x.policy.proves && result.Passed && result.Code == Audited {", New: "if x.policy.proves && result.Passed && result.Code == Verified {"},
		{Fault: "a stranger's refusal counts", Class: StrangerDecides, File: examination, Package: pkg, Run: "^(TestRefusalsByWhoCausesThem|TestExaminationsAreBounded)$",
			Old: "result.Unproven = result.Unproven || v.anybodys(result.Code)", New: "result.Unproven = result.Unproven && v.anybodys(result.Code)"},
		{Fault: "evidence past the bound is no reason to doubt", Class: StrangerDecides, File: "standing.go", Package: pkg, Run: "^TestBuriedSignatures$",
			Old: "case good && s.limit == nil: // what lies past a bound could be a refusal", New: "case good: // what lies past a bound could be a refusal"},
		{Fault: "an old scan without findings beats a newer one", Class: Expired, File: "standing.go", Package: pkg, Run: "^(TestRuleSeesWhatDecides|TestPiecesAgainstOracle)$",
			Old: "return o.made.IsZero() || !o.made.Before(newest)", New: "return o.made.IsZero() || o.made.Before(newest) || o.made.Equal(newest)"},
		{Fault: "what an image may cost has no bound", Class: WorkWithoutBound, File: examination, Package: pkg, Run: "^TestExaminationsAreBounded$",
			Old: "if x.budget.Add(-1) < 0 {", New: "if x.budget.Add(-1) < -1<<60 {"},
		{Fault: "any number of pieces is examined", Class: Endless, File: examination, Package: pkg, Run: "^TestAtMostTwentyPieces$",
			Old: "if most := x.engine.maxEvidence(); total > most {", New: "if most := x.engine.maxEvidence(); total > 1000*most {"},
		{Fault: "a rule that fails holds", Class: ErrorIsPass, File: examination, Package: pkg, Run: "^TestRuleDecides$",
			Old: "case holds && err == nil:", New: "case holds || err != nil:"},
		{Fault: "one good platform is enough", Class: OtherThingRun, File: "platforms.go", Package: pkg, Run: "^TestPlatformsAgainstOracle$",
			Old: "\tcase refusal != nil:\n\t\treturn refusal\n\tcase open != nil:", New: "\tcase refusal != nil && open != nil:\n\t\treturn refusal\n\tcase open != nil:"},
		{Fault: "an index that lists nothing has all its platforms verified", Class: ErrorIsPass, File: "platforms.go", Package: pkg, Run: "^TestIndexesThatAreOdd$",
			Old: "\tif len(list) == 0 {\n\t\treturn nil, invalidIndex(\"it lists no image\")", New: "\tif len(list) < 0 {\n\t\treturn nil, invalidIndex(\"it lists no image\")"},
		{Fault: "a policy that audits one repository audits all", Class: NotEnforced, File: "engine.go", Package: pkg, Run: "^TestRegistryAnswersAnotherDigest$",
			Old: "return err == nil && policy.Mode == ModeAudit", New: "return err == nil && policy.Mode != \"x\""},
	}
}
