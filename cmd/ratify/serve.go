package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/provider"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// serveOptions are the flags of ratify serve.
type serveOptions struct {
	config        string
	tls           provider.TLSOptions
	address       string
	healthAddress string
	verifyTimeout time.Duration
	mutateTimeout time.Duration
	shutdownDelay time.Duration
	logLevel      string
	content       contentOptions
}

func (a *app) serveCommand() *cobra.Command {
	o := serveOptions{content: contentOptions{memory: blobs.DefaultMemory, disk: blobs.DefaultDisk}}
	command := &cobra.Command{
		Use:   "serve",
		Short: "Answer Gatekeeper's external data requests",
		Long: `Serve is the provider of Gatekeeper's external data: it answers POST
` + provider.VerifyPath + ` and ` + provider.MutatePath + `
over TLS 1.3, to clients that have Gatekeeper's certificate.

The configuration, the files that it names, the certificate pair and the client
CA are watched, and replaced when they change; what is wrong is logged, counted,
and leaves the last good one in force.`,
		Example: `  ratify serve --config /etc/ratify/config.yaml --cert-dir /etc/ratify/tls \
    --client-ca /etc/ratify/gatekeeper/ca.crt \
    --client-name gatekeeper-webhook-service.gatekeeper-system.svc`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.content.check(command.Flags()); err != nil {
				return err
			}
			return a.serve(command.Context(), o)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.config, "config", "c", "", "configuration file (YAML or JSON)")
	flags.StringVar(&o.tls.CertDir, "cert-dir", "", "directory with the server's tls.crt and tls.key")
	flags.StringVar(&o.tls.ClientCA, "client-ca", "", "file with the CA certificates of Gatekeeper's client certificate")
	flags.StringSliceVar(&o.tls.ClientNames, "client-name", []string{"gatekeeper-webhook-service.gatekeeper-system.svc"}, "name that the client certificate must have; may be repeated")
	flags.BoolVar(&o.tls.InsecureNoClientAuth, "insecure-no-client-auth", false, "let anybody who reaches the port ask")
	flags.StringVar(&o.address, "address", ":6001", "address to listen on for Gatekeeper")
	flags.StringVar(&o.healthAddress, "health-address", ":9099", "address to listen on for /healthz, /readyz and /metrics")
	flags.DurationVar(&o.verifyTimeout, "verify-timeout", 1800*time.Millisecond, "deadline of a verification: below the Provider's timeout, which is below the webhook's")
	flags.DurationVar(&o.mutateTimeout, "mutate-timeout", 900*time.Millisecond, "deadline of a mutation, likewise")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 5*time.Second, "how long requests are still taken after SIGTERM, while endpoints change")
	flags.StringVar(&o.logLevel, "log-level", "info", "what is logged: debug, info (each image), warn (refusals and problems), error")
	o.content.addFlags(command)
	_ = command.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	_ = command.MarkFlagFilename("config", "yaml", "yml", "json")
	_ = command.MarkFlagDirname("cert-dir")
	return command
}

// serve runs the provider until ctx ends.
func (a *app) serve(ctx context.Context, o serveOptions) error {
	if o.config == "" {
		return usage("ratify serve --config FILE …", "--config is missing")
	}
	if o.verifyTimeout <= 0 || o.mutateTimeout <= 0 || o.shutdownDelay < 0 {
		return usage("", "timeouts must be positive")
	}
	log, err := newLog(o.logLevel, a.err)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	most := limitMemory(log)

	metrics := provider.NewMetrics()
	certificates, err := provider.NewTLS(o.tls, metrics)
	if err != nil {
		return err
	}
	pool := oras.NewPoolWith(o.content.options(log))
	defer pool.Close()
	metrics.WatchContent(pool.ContentStats)
	p := &process{
		pool: pool, revocation: notation.NewRevocation(notation.RevocationOptions{}),
		outcomes: notation.NewOutcomes(notation.OutcomesOptions{}), sigstore: sigstore.NewShared(),
		log: log, observeRegistry: metrics.RegistryRequest, observeBreaker: breakerLog(log, metrics.WatchBreakers()), observeSignature: metrics.SignatureVerified, observePanic: metrics.Panic,
	}
	g, err := p.build(o.config)
	if err != nil {
		return fmt.Errorf("the configuration %s is not good:\n%w", o.config, err)
	}
	answerer := provider.New(provider.Options{VerifyTimeout: o.verifyTimeout, MutateTimeout: o.mutateTimeout, Log: log, Metrics: metrics})
	answerer.Install(g.engine, g.file)
	metrics.TrustEnds(g.trustEnds())
	logWarnings(log, g)
	if o.tls.InsecureNoClientAuth {
		log.Warn("client certificates are not checked: anybody who reaches the port can ask")
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &reloader{build: p.build, path: o.config, current: g, provider: answerer, tls: certificates, metrics: metrics, log: log}
	go tendMemory(ctx, most)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		r.run(ctx)
	}()
	server := &provider.Server{
		Provider: answerer, TLS: certificates, Log: log,
		Address: o.address, HealthAddress: o.healthAddress, ShutdownDelay: o.shutdownDelay,
	}
	err = server.Run(ctx)
	stop()
	<-watching
	return err
}

// logWarnings tells what the configuration allows that may not be meant, and which tenants have none that is good.
func logWarnings(log *zap.Logger, g *generation) {
	for _, line := range g.tenantErrors {
		log.Error("the file of a tenant is not good: its namespace is refused everything", zap.String("error", line))
	}
	for _, warning := range g.warnings() {
		log.Warn("the configuration is lax", zap.String("warning", warning))
	}
}

// newLog writes JSON records. Stacks are only of panics, which bring their own.
func newLog(level string, w io.Writer) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, usage("debug, info, warn, error", "--log-level %s is unknown", strings.ToLower(level))
	}
	return provider.NewLog(l, zapcore.AddSync(w)), nil
}

// breakerLog writes a record when requests for a server of a registry begin to be refused, and when that ends.
func breakerLog(log *zap.Logger, count func(registry string, open int, tripped bool)) func(oras.BreakerChange) {
	return func(c oras.BreakerChange) {
		count(c.HostClass, c.OpenInClass, c.Open)
		fields := []zap.Field{zap.String("registry", c.HostClass), zap.String("host", c.Host), zap.Time("since", c.Since), zap.String("cause", c.Cause)}
		if c.Open {
			log.Warn("registry breaker open", fields...)
			return
		}
		log.Info("registry breaker closed", fields...)
	}
}
