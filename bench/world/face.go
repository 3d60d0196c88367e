package world

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/ratify-provider/ratify/provider"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A face is how the floor and the echo meet Gatekeeper: with the provider's own TLS settings, and its bounds on connections,
// since a deadline costs something too.
type face struct {
	address, healthAddress string
	tls                    provider.TLSOptions
	log                    *zap.Logger
}

// flags are those that the servers here share with ratify serve.
func (f *face) flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&f.address, "address", "127.0.0.1:0", "address to listen on for Gatekeeper")
	flags.StringVar(&f.healthAddress, "health-address", "127.0.0.1:0", "address to listen on for /readyz")
	flags.StringVar(&f.tls.CertDir, "cert-dir", "", "directory with tls.crt and tls.key")
	flags.StringVar(&f.tls.ClientCA, "client-ca", "", "CA certificates of Gatekeeper's client certificate")
	f.tls.ClientNames = []string{clientName}
	return flags
}

// newLog is a log of the kind that ratify writes; what is Reflected must be JSON already, and is written as it is.
func newLog() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.NewReflectedEncoder = newRawEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.Lock(zapcore.AddSync(os.Stderr)), zap.InfoLevel))
}

// Bounds on connections, those of the provider.
const (
	faceHeaderTime     = 2 * time.Second
	faceReadTime       = 5 * time.Second
	faceWriteTime      = 12 * time.Second
	faceIdleTime       = 120 * time.Second
	faceMaxHeaderBytes = 16 << 10
)

// serve has the handler answer whatever comes, until the process ends: a choice of paths would cost something.
func (f *face) serve(handler http.Handler) error {
	certificates, err := provider.NewTLS(f.tls, provider.NewMetrics())
	if err != nil {
		return err
	}
	listener, err := listen(f.address)
	if err != nil {
		return err
	}
	health, err := listen(f.healthAddress)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	probes := http.NewServeMux()
	probes.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	main := &http.Server{
		Handler: handler, TLSConfig: certificates.Config(), ReadHeaderTimeout: faceHeaderTime, ReadTimeout: faceReadTime,
		WriteTimeout: faceWriteTime, IdleTimeout: faceIdleTime, MaxHeaderBytes: faceMaxHeaderBytes,
	}
	failed := make(chan error, 2)
	go func() { failed <- main.ServeTLS(listener, "", "") }()
	go func() {
		failed <- (&http.Server{Handler: probes, ReadHeaderTimeout: faceHeaderTime}).Serve(health)
	}()
	f.log.Info(listeningMessage, zap.Stringer("address", listener.Addr()), zap.Stringer("healthAddress", health.Addr()))
	return <-failed
}
