package world

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// RunEcho serves until the process ends: every request is read and answered with what was recorded, and the log gets as many
// records, of as many bytes, as were recorded. args are those that StartEcho gives.
func RunEcho(args []string) error {
	f := face{log: newLog()}
	flags := f.flags(EchoCommand)
	responseFile := flags.String("response", "", "file with the answer")
	recordsFile := flags.String("records", "", "file with the log records, one a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	response, err := os.ReadFile(*responseFile)
	if err != nil {
		return err
	}
	records, err := os.ReadFile(*recordsFile)
	if err != nil {
		return err
	}
	fillers, err := fillersFor(bytes.Split(bytes.TrimSpace(records), []byte("\n")))
	if err != nil {
		return err
	}
	length := strconv.Itoa(len(response))
	return f.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, filler := range fillers {
			f.log.Info(echoMessage, zap.Reflect(echoField, filler))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(response) // a client that is gone needs no answer
	}))
}

// echoMessage is as long as ratify's; the field holds the rest of the record.
const (
	echoMessage = "verify"
	echoField   = "r"
)

// fillersFor makes of each record a JSON string that is as long as what follows the message in it.
func fillersFor(records [][]byte) ([]json.RawMessage, error) {
	fillers := make([]json.RawMessage, len(records))
	for i, record := range records {
		var head struct {
			Level string `json:"level"`
			TS    string `json:"ts"`
		}
		if err := json.Unmarshal(record, &head); err != nil {
			return nil, fmt.Errorf("read log record %d: %w", i, err)
		}
		bare := fmt.Sprintf(`{"level":"info","ts":%q,"msg":%q,%q:""}`, head.TS, echoMessage, echoField)
		fillers[i] = json.RawMessage(`"` + strings.Repeat("x", max(0, len(record)-len(bare))) + `"`)
	}
	return fillers, nil
}

// A rawEncoder writes what is JSON already: encoding it once more would cost more than all the rest of a record.
type rawEncoder struct{ w io.Writer }

func newRawEncoder(w io.Writer) zapcore.ReflectedEncoder { return rawEncoder{w} }

func (e rawEncoder) Encode(value any) error {
	raw, ok := value.(json.RawMessage)
	if !ok {
		return fmt.Errorf("log %T: it is not JSON already", value)
	}
	_, err := e.w.Write(raw)
	return err
}
