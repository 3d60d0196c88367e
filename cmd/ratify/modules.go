package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/rule"
	"github.com/ratify-provider/ratify/store/ocilayout"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/vulnerability"
	"go.uber.org/zap"
)

// A process holds what outlives a configuration. The zero value is ready: modules then make their own.
type process struct {
	pool       *oras.Pool           // connections and tokens
	revocation *notation.Revocation // OCSP and CRL answers
	outcomes   *notation.Outcomes   // signatures that passed
	sigstore   *sigstore.Shared     // memory for evidence that is being verified, and of what was
	log        *zap.Logger
	// observeRegistry is told of each answer of a registry; status 0 is none. hostClass is fit for a metric's label.
	observeRegistry func(hostClass string, status int)
	// observeBreaker is told when a server of a registry is not asked any more because it answers nothing, and when it is again.
	observeBreaker func(oras.BreakerChange)
	// observeSignature is told the type of the verifier that verified the cryptography of a signature.
	observeSignature func(verifier string)
	// observePanic is told of each panic that was contained.
	observePanic func()
}

// A storeType makes a store from its settings, a verifierType a verifier. What they read from disk goes through set.
type (
	storeType    func(p *process, settings config.Settings, set *files.Set) (ratify.Store, error)
	verifierType func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error)
)

// storeTypes and verifierTypes are the table of modules: all that a configuration can name as a type. A new one is a
// package with a Config and a New, and a line here.
func storeTypes() map[string]storeType {
	return map[string]storeType{
		"oras": func(p *process, settings config.Settings, set *files.Set) (ratify.Store, error) {
			return fromSettings(settings, func(c oras.Config) (*oras.Store, error) {
				return oras.New(c, oras.Deps{Files: set, Pool: p.pool, Observe: p.observeRegistry, Breaker: p.observeBreaker})
			})
		},
		"ocilayout": func(_ *process, settings config.Settings, _ *files.Set) (ratify.Store, error) {
			return fromSettings(settings, ocilayout.New)
		},
	}
}

func verifierTypes() map[string]verifierType {
	return map[string]verifierType{
		"notation": func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error) {
			return fromSettings(settings, func(c notation.Config) (*notation.Verifier, error) {
				return notation.New(c, notation.Deps{Files: set, Revocation: p.revocation, Outcomes: p.outcomes, Observe: p.observeNotation})
			})
		},
		"cosign": func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error) {
			return fromSettings(settings, func(c cosign.Config) (*cosign.Verifier, error) {
				return cosign.New(c, cosign.Deps{Files: set, Shared: p.signers("cosign")})
			})
		},
		"attestation": func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error) {
			return fromSettings(settings, func(c attestation.Config) (*attestation.Verifier, error) {
				return attestation.New(c, attestation.Deps{Files: set, Shared: p.signers("attestation")})
			})
		},
		"sbom": func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error) {
			return fromSettings(settings, func(c sbom.Config) (*sbom.Verifier, error) {
				return sbom.New(c, sbom.Deps{Files: set, Shared: p.signers("sbom")})
			})
		},
		"vulnerability": func(p *process, settings config.Settings, set *files.Set) (ratify.Verifier, error) {
			return fromSettings(settings, func(c vulnerability.Config) (*vulnerability.Verifier, error) {
				return vulnerability.New(c, vulnerability.Deps{Files: set, Shared: p.signers("vulnerability")})
			})
		},
	}
}

// fromSettings decodes the settings strictly into a module's own configuration and makes the module from it. Of settings
// that do not decode the rest is checked, too, and nothing made.
func fromSettings[C, M any](settings config.Settings, construct func(C) (M, error)) (module M, err error) {
	var c C
	bad := settings.Decode(&c) // it names its place
	if bad != nil && !config.Decoded(bad) {
		return module, bad
	}
	made, err := construct(c)
	if err != nil {
		err = prefixEach(settings.Place(), err)
	}
	if err := config.Join(bad, err); err != nil {
		return module, err
	}
	return made, nil
}

// A generation is what one configuration makes: it is used whole, and replaced whole.
type generation struct {
	file   *config.File
	setup  ratify.Setup
	engine *ratify.Engine
	files  *files.Set // every file that it was made from, the configuration itself included
	// tenantErrors are what is wrong with files of tenants, whose namespaces are refused everything.
	tenantErrors []string
}

// build reads a configuration file and makes the engine that it describes. The error tells everything that is wrong
// with it, one line each, with its place. On an error the generation is not nil; its files say what to watch for a
// better one, its engine is nil.
func (p *process) build(path string) (*generation, error) {
	set := &files.Set{}
	data, err := set.Read(path)
	if err != nil {
		return &generation{files: set}, fmt.Errorf("read the configuration: %w", err)
	}
	return p.buildFrom(data, set)
}

// buildFrom is build for a configuration that has been read.
func (p *process) buildFrom(data []byte, set *files.Set) (*generation, error) {
	file, bad := config.Parse(data)
	if file == nil {
		return &generation{files: set}, bad
	}
	return p.assemble(file, bad, set)
}

// assemble makes the engine of a decoded configuration. Of one that is bad, which bad tells, it makes none, but tells
// what is wrong with the rest, too, so that one look at the errors is enough.
func (p *process) assemble(file *config.File, bad error, set *files.Set) (*generation, error) {
	if p.sigstore != nil {
		configured := *p
		configured.sigstore = p.sigstore.Configured(time.Duration(file.Cache.RefusalTTL))
		p = &configured
	}
	setup, err := p.makeModules(file, set)
	g := &generation{file: file, setup: setup, files: set}
	if bad != nil && !config.Decoded(bad) {
		return g, config.Join(bad, err)
	}
	// Names and scopes are checked even where a module could not be made, so that everything is told at once.
	_, engineErr := ratify.NewEngine(g.setup)
	if err := config.Join(bad, errors.Join(err, engineErr)); err != nil {
		return g, err
	}
	if err := p.addTenants(g); err != nil {
		return g, err
	}
	if g.engine, err = ratify.NewEngine(g.setup); err != nil {
		return g, err
	}
	return g, nil
}

// makeModules makes the stores and verifiers of a configuration. Beside an error it returns a setup that has the names
// and scopes of all, for NewEngine to check.
func (p *process) makeModules(file *config.File, set *files.Set) (ratify.Setup, error) {
	setup := ratify.Setup{Policies: file.Policies, Exemptions: file.Exemptions, Mirrors: file.Mirrors, CompileRule: compileRule, OnPanic: p.onPanic}
	if file.Tenancy.Enabled {
		setup.Tenancy = &ratify.Tenancy{RefuseWithoutPolicy: file.Tenancy.WithoutPolicy == config.WithoutPolicyRefuse}
	}
	var errs []error
	for i, m := range file.Stores {
		store, err := makeModule(p, storeTypes(), placeOf("stores", i, m.Module), m.Module, set)
		errs = append(errs, err)
		if t, ok := store.(tenantStore); ok && !file.Tenancy.Enabled {
			for _, place := range t.TenantSources() {
				errs = append(errs, fmt.Errorf("%s: %s: it is for tenants alone, and has no effect without tenancy", placeOf("stores", i, m.Module), place))
			}
		}
		setup.Stores = append(setup.Stores, ratify.NamedStore{Name: m.Name, Scopes: m.Scopes, Store: store})
	}
	verifiers, err := p.makeVerifiers(file.Verifiers, set)
	setup.Verifiers = verifiers
	return setup, errors.Join(append(errs, err)...)
}

// A tenantStore is a store that may have credentials which only tenants use.
type tenantStore interface{ TenantSources() (places []string) }

// makeVerifiers makes verifiers, the cluster's or a tenant's.
func (p *process) makeVerifiers(modules []config.Verifier, set *files.Set) (verifiers []ratify.NamedVerifier, err error) {
	var errs []error
	for i, m := range modules {
		verifier, err := makeModule(p, verifierTypes(), placeOf("verifiers", i, m.Module), m.Module, set)
		errs = append(errs, err)
		verifiers = append(verifiers, ratify.NamedVerifier{Name: m.Name, Type: m.Type, Verifier: verifier, SignedBy: m.SignedBy, Evidence: m.Evidence})
	}
	return verifiers, errors.Join(errs...)
}

func compileRule(expression string) (ratify.Rule, error) { return rule.Compile(expression) }

// A warner is a module that tells what its settings allow and an operator may not have meant.
type warner interface{ Warnings() []string }

// warnings are what the modules of the configuration tell, each with its place.
func (g *generation) warnings() []string {
	var warnings []string
	for i, v := range g.setup.Verifiers {
		if w, ok := v.Verifier.(warner); ok {
			for _, warning := range w.Warnings() {
				warnings = append(warnings, placeOf("verifiers", i, config.Module{Name: v.Name})+": "+warning)
			}
		}
	}
	return append(warnings, g.engine.ExpiredExemptions()...)
}

// trustEnds is when the first of the certificates ends that the modules trust, where they tell; zero: there is none.
func (g *generation) trustEnds() (end time.Time) {
	for _, v := range g.setup.Verifiers {
		ends, ok := v.Verifier.(interface{ TrustEnds() time.Time })
		if !ok {
			continue
		}
		if first := ends.TrustEnds(); end.IsZero() || !first.IsZero() && first.Before(end) {
			end = first
		}
	}
	return end
}

// makeModule finds the type of a module in the table and makes it.
func makeModule[M any, T ~func(*process, config.Settings, *files.Set) (M, error)](
	p *process, types map[string]T, place string, m config.Module, set *files.Set) (module M, err error) {
	if construct, ok := types[m.Type]; ok {
		made, err := construct(p, m.Settings, set)
		if err != nil {
			return module, err // made is not nil then, but a nil of its type
		}
		return made, nil
	}
	known := slices.Sorted(maps.Keys(types))
	switch near := config.Nearest(m.Type, known); {
	case m.Type == "":
		return module, fmt.Errorf("%s: type: it has none (known: %s)", place, strings.Join(known, ", "))
	case near != "":
		return module, fmt.Errorf("%s: type: unknown type %s (did you mean %q?)", place, ratify.Quote(m.Type), near)
	default:
		return module, fmt.Errorf("%s: type: unknown type %s (known: %s)", place, ratify.Quote(m.Type), strings.Join(known, ", "))
	}
}

// placeOf is where a module stands in the file, as the errors of config spell it.
func placeOf(list string, i int, m config.Module) string {
	if m.Name == "" {
		return fmt.Sprintf("%s[%d]", list, i)
	}
	return fmt.Sprintf("%s[%d] %s", list, i, ratify.Quote(m.Name))
}

// prefixEach puts the place before each line of an error that may be several, so that none stands without.
func prefixEach(place string, err error) error {
	if place == "" {
		return err
	}
	var errs []error
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, errors.New(place+": "+strings.TrimRight(line, "\n")))
	}
	return errors.Join(errs...)
}

// signers is what verifiers of a type share with all others.
func (p *process) signers(verifier string) *sigstore.Shared {
	if p.sigstore == nil || p.observeSignature == nil {
		return p.sigstore
	}
	return p.sigstore.Counting(func() { p.observeSignature(verifier) })
}

func (p *process) observeNotation(work notation.Work) {
	if p.observeSignature != nil && work != notation.VerifiedNothing {
		p.observeSignature("notation")
	}
}

func (p *process) onPanic(traceID string, value any, stack []byte) {
	if p.observePanic != nil {
		p.observePanic()
	}
	if p.log == nil {
		return
	}
	p.log.Error("panic", zap.String("traceID", traceID), zap.Any("value", value), zap.ByteString("stack", stack))
}
