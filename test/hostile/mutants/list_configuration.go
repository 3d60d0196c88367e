package main

// ofConfiguration are faults in what a configuration means, and in what is written of secrets.
func ofConfiguration() []Mutant {
	return []Mutant{
		{Fault: "an unknown field of a configuration is overlooked", Class: NotEnforced, File: "config/strict.go", Package: "./config",
			Old: "\t\t\tc.fail(place, \"unknown field %s%s\", ratify.Quote(key), hint(key, sortedKeys(fields)))\n", New: ""},
		{Fault: "a second document of a configuration is read by nobody", Class: TwoReadings, File: "config/config.go", Package: "./config",
			Old: "case n > 1 && document != nil:", New: "case n > 2 && document != nil:"},
		{Fault: "an empty configuration is one", Class: NotEnforced, File: "config/config.go", Package: "./config",
			Old: "\t\treturn nil, errors.New(\"the configuration is empty\")", New: "\t\tdata = []byte(\"{}\")"},
		{Fault: "a bad configuration comes into force", Class: NotEnforced, File: "cmd/ratify/reload.go", Package: "./cmd/ratify", Run: "^TestServeReloads$",
			Old: "\tif err == nil {\n\t\tr.provider.Install", New: "\tif err == nil || g != nil {\n\t\tr.provider.Install"},
		{Fault: "a configuration that is half written comes into force", Class: NotEnforced, File: "cmd/ratify/reload.go", Package: "./cmd/ratify", Run: "^TestReloadTakesNoHalf$",
			Old: "if g != nil && g.files.Changed() {", New: "if g != nil && g.files.Changed() && g.engine == nil {"},
		{Fault: "a password is printed", Class: SecretShown, File: "store/oras/oras.go", Package: "./store/oras", Run: "^TestSecretsCannotBePrinted$",
			Old: "func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }", New: "func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, string(s)) }"},
		{Fault: "a tenant's policy may be for what is not delegated to it", Class: NotEnforced, File: "cmd/ratify/tenants.go", Package: "./cmd/ratify", Run: "^TestTenants$",
			Old: "if !slices.ContainsFunc(delegations, covers) {", New: "if !slices.ContainsFunc(delegations, covers) && len(delegations) == 0 {"},
		{Fault: "a tenant's file may lead out of its directory", Class: SecretShown, File: "internal/files/files.go", Package: "./internal/files", Run: "^TestWithin",
			Old: "|| !filepath.IsLocal(below) {", New: "|| below == \"\" {"},
		{Fault: "regular expressions of a rule cost nothing", Class: WorkWithoutBound, File: "rule/cost.go", Package: "./rule", Run: "^TestCostBombs$",
			Old: "price += p.size(args[0]) * max(textLen(args[1]), dearRegex)", New: "price += min(p.size(args[0]), max(textLen(args[1]), dearRegex))"},
		{Fault: "text from outside is not cut", Class: SecretShown, File: "limits.go", Package: ".", Run: "^(TestRequireJSON|TestTruncateAndQuote)$",
			Old: "if len(s) <= MaxTextBytes {", New: "if len(s) <= 1000*MaxTextBytes {"},
		{Fault: "text from outside is not escaped", Class: SecretShown, File: "limits.go", Package: ".", Run: "^TestTruncateAndQuote$",
			Old: "return strconv.QuoteToASCII(Truncate(s)) }", New: "return strconv.Quote(\"\")[:1] + Truncate(s) + `\"` }"},
	}
}

// ofTemplate are faults in the template, which decides what an answer admits. The suite of the library puts more of them into
// it, and shows that a case sees each.
func ofTemplate() []Mutant {
	const file, pkg = "library/default/template.yaml", "test/library"
	return []Mutant{
		{Fault: "the template does not look at ephemeral containers", Class: ContainerMissed, File: file, Package: pkg, Run: "^TestObjects$",
			Old: `lists = ["containers", "initContainers", "ephemeralContainers", "volumes"]`, New: `lists = ["containers", "initContainers", "volumes"]`},
		{Fault: "the template does not look at images of volumes", Class: ContainerMissed, File: file, Package: pkg, Run: "^TestObjects$",
			Old: `lists = ["containers", "initContainers", "ephemeralContainers", "volumes"]`, New: `lists = ["containers", "initContainers", "ephemeralContainers"]`},
		{Fault: "an object on its way out is exempt", Class: ContainerMissed, File: file, Package: pkg, Run: "^TestObjects$",
			Old: "        # Nothing of what is deleted will start.\n", New: "        exempt {\n          input.review.object.metadata.deletionTimestamp\n        }\n\n        # Nothing of what is deleted will start.\n"},
		{Fault: "the template asks whether a report is not false", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "          values[0].isSuccess == true\n          ahead", New: "          not values[0].isSuccess == false\n          ahead"},
		{Fault: "a field of the report has another name in the template", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "          values[0].isSuccess == true\n          ahead", New: "          values[0].succeeded == true\n          ahead"},
		{Fault: "a systemError beside a proof is overlooked", Class: ProtocolBroken, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "        all_proven {\n          response.system_error == \"\"\n          status_accepted\n", New: "        all_proven {\n          status_accepted\n"},
		{Fault: "a report that has ended is good", Class: CacheOutlives, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "instant * 1000000000 > time.now_ns()", New: "instant > 0"},
		{Fault: "a report for another key is good", Class: NotBound, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "          report.key == key_of(image)\n", New: "          report.key != null\n"},
		{Fault: "two answers for one key are one", Class: ProtocolBroken, File: file, Package: pkg, Run: "^TestShapesOfAnswer$|^TestRandomAnswers$",
			Old: "          count(values) == 1\n          known(image, values[0])", New: "          known(image, values[0])"},
		{Fault: "some image is enough", Class: ErrorIsPass, File: file, Package: pkg, Run: "^TestShapesOfAnswer$",
			Old: "          unproven == set()\n", New: "          count(unproven) < count(wanted)\n"},
	}
}

// ofInstallation are faults in what looks at an installation, and in what makes one.
func ofInstallation() []Mutant {
	const checks, doctor, chart = "charts/ratify/templates/_checks.tpl", "./internal/doctor", "test/chart"
	return []Mutant{
		{Fault: "doctor does not see that what is not answered is admitted", Class: NotEnforced, File: "internal/doctor/webhooks.go", Package: doctor,
			Old: "w := x.hook(kindValidating, validation); w != nil && w.FailurePolicy == policyIgnore {", New: "w := x.hook(kindValidating, validation); w != nil && w.FailurePolicy == \"\" {"},
		{Fault: "doctor does not see that labels keep pods from being looked at", Class: ContainerMissed, File: "internal/doctor/constraints.go", Package: doctor,
			Old: "if !m.LabelSelector.empty() {", New: "if !m.LabelSelector.empty() && m.Name == \"*\" {"},
		{Fault: "what doctor could not read is good", Class: ErrorIsPass, File: "internal/doctor/doctor.go", Package: doctor,
			Old: "if len(x.report.Findings) == before && !x.unseen {", New: "if len(x.report.Findings) == before {"},
		{Fault: "the chart writes a password where everybody may read it", Class: SecretShown, File: checks, Package: chart, Run: "^TestRefusals$",
			Old: "{{- if or $secret $variable -}}", New: "{{- if and $secret $variable -}}"},
		{Fault: "the chart takes a private key for a certificate", Class: SecretShown, File: checks, Package: chart, Run: "^TestRefusals$",
			Old: "{{- if contains \"PRIVATE KEY-----\" .text -}}", New: "{{- if contains \"PRIVATE KEYS-----\" .text -}}"},
	}
}
