package content

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestReadIndex(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		count      int
		more       bool
		wantErr    string
	}{
		{name: "empty list", text: `{"schemaVersion":2,"manifests":[]}`},
		{name: "no list", text: `{"schemaVersion":2}`},
		{name: "null list", text: `{"manifests":null}`},
		{name: "two", text: `{"manifests":[{"digest":"` + digestA + `","size":1},{"size":2}],"mediaType":"m"}`, count: 2},
		{name: "as many as the limit", text: `{"manifests":[{},{},{}]}`, count: 3},
		{name: "more than the limit", text: `{"manifests":[{},{},{},{}]}`, count: 3, more: true},
		{name: "more than the limit, then garbage", text: `{"manifests":[{},{},{},{}###`, count: 3, more: true},
		{name: "nothing", text: ``, wantErr: "unexpected EOF"},
		{name: "cut short in the list", text: `{"manifests":[{}`, count: 1, wantErr: "unexpected EOF"},
		{name: "cut short before the end", text: `{"manifests":[{}]`, count: 1, wantErr: "unexpected EOF"},
		{name: "HTML", text: `<html></html>`, wantErr: "invalid character"},
		{name: "a list", text: `[]`, wantErr: "no { where one is expected"},
		{name: "manifests is a string", text: `{"manifests":"x"}`, wantErr: "no list"},
		{name: "two lists", text: `{"manifests":[{}],"manifests":[{}]}`, count: 1, wantErr: "two lists"},
		{name: "an index with layers", text: `{"manifests":[],"layers":[]}`, wantErr: "it has layers"},
		{name: "an index with a config", text: `{"config":{},"manifests":[]}`, wantErr: "it has config"},
		{name: "text after the end", text: `{"manifests":[]}{}`, wantErr: "text after its end"},
		{name: "size that is no number", text: `{"manifests":[{"size":"1"}]}`, wantErr: "cannot unmarshal"},
		{name: "size beyond 63 bits", text: `{"manifests":[{"size":9223372036854775808}]}`, wantErr: "cannot unmarshal"},
		{name: "ten thousand deep", text: `{"x":` + strings.Repeat("[", 10001), wantErr: "max depth"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			index, err := ReadIndex(strings.NewReader(tc.text), 3)
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if len(index.Manifests) != tc.count || index.More != tc.more {
				t.Errorf("%d manifests, more %v; want %d, %v", len(index.Manifests), index.More, tc.count, tc.more)
			}
		})
	}
}

func TestReadIndexKeepsNoEmbeddedDataAndNoURLs(t *testing.T) {
	text := `{"manifests":[{"mediaType":"m","artifactType":"a","digest":"` + digestA + `","size":7,"annotations":{"k":"v"},"data":"eHg=","urls":["https://a.example"],"platform":{"os":"x"}}]}`
	index, err := ReadIndex(strings.NewReader(text), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := index.Manifests[0]
	if d.MediaType != "m" || d.ArtifactType != "a" || d.Digest != digestA || d.Size != 7 || d.Annotations["k"] != "v" {
		t.Errorf("descriptor %+v lost a field", d)
	}
	if d.Data != nil || d.URLs != nil || d.Platform != nil {
		t.Errorf("descriptor %+v keeps what must be fetched", d)
	}
}

// A list is held while its image is examined, and hundreds are at the same time.
func TestReadIndexKeepsLittleOfEachDescriptor(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("%q:\"\"", fmt.Sprint("k", i)))
	}
	text := `{"manifests":[{"mediaType":"` + long + `","artifactType":"` + long + `","digest":"` + long + `","annotations":{"a":"b","` + long + `":"","long":"` + long + `",` + strings.Join(many, ",") + `}}]}`
	index, err := ReadIndex(strings.NewReader(text), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := index.Manifests[0]
	held := len(d.MediaType) + len(d.ArtifactType) + len(d.Digest)
	for name, value := range d.Annotations {
		held += len(name) + len(value)
	}
	if len(d.Annotations) != 8 || d.Annotations["a"] != "b" || held > 4<<10 {
		t.Errorf("%d annotations and %d bytes are kept, want 8 and at most 4096", len(d.Annotations), held)
	}
	if d.Digest.Validate() == nil {
		t.Error("a digest that was cut is valid")
	}
}

// TestReadIndexKeepsLittleOfAllDescriptors: the annotations of a list have one bound together; no other part of a descriptor
// is lost to it.
func TestReadIndexKeepsLittleOfAllDescriptors(t *testing.T) {
	const descriptors = 500
	var all []string
	for i := range descriptors {
		value := strings.Repeat("v", 200)
		all = append(all, fmt.Sprintf(`{"artifactType":"kind","digest":"%s","size":%d,"annotations":{"a":"%s","b":"%s","c":"%s"}}`, digestA, i, value, value, value))
	}
	index, err := ReadIndex(strings.NewReader(`{"manifests":[`+strings.Join(all, ",")+`]}`), descriptors)
	if err != nil || len(index.Manifests) != descriptors {
		t.Fatal(len(index.Manifests), err)
	}
	held := 0
	for _, d := range index.Manifests {
		held += annotations(d.Annotations).bytes()
		if d.ArtifactType != "kind" || d.Digest != digestA {
			t.Fatal(d)
		}
	}
	if held == 0 || held > descriptors*meanAnnotations {
		t.Errorf("%d bytes of annotations", held)
	}
}

// TestReadIndexDecodesFewAnnotations: a descriptor that is nothing but annotations takes no multiple of its size at once.
func TestReadIndexDecodesFewAnnotations(t *testing.T) {
	text := []byte(`{"":""`)
	for i := range 100_000 {
		text = fmt.Appendf(text, `,"%x":""`, i)
	}
	var a annotations
	if err := a.UnmarshalJSON(append(text, '}')); err != nil || len(a) != maxAnnotations {
		t.Errorf("%d are kept, error %v", len(a), err)
	}
	for _, wrong := range []string{`[]`, `1`, `{"a":1}`, `{"a":`, ``} {
		if err := new(annotations).UnmarshalJSON([]byte(wrong)); err == nil {
			t.Errorf("%q was decoded", wrong)
		}
	}
}

func TestReadIndexReturnsTheReadersError(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(`{"manifests":[{},`), iotest.ErrReader(broken))
	if index, err := ReadIndex(r, 3); !errors.Is(err, broken) || len(index.Manifests) != 1 {
		t.Errorf("%d manifests, error %v; want 1 and the reader's error", len(index.Manifests), err)
	}
}

// A million descriptors in 4 MiB must cost what the limit says and not what the sender chose.
func TestReadIndexOfAMillionDescriptorsIsCheap(t *testing.T) {
	text := `{"manifests":[` + strings.Repeat("{},", 1<<20) + `{}]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	index, err := ReadIndex(strings.NewReader(text), 500)
	runtime.ReadMemStats(&after)
	if err != nil || len(index.Manifests) != 500 || !index.More {
		t.Fatalf("%d manifests, more %v, error %v", len(index.Manifests), index.More, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("allocated %d bytes for 500 descriptors", grown)
	}
}

// The decoder must get full buffers, however slowly the bytes come: see fullReader.
func TestFullReader(t *testing.T) {
	r := fullReader{iotest.OneByteReader(strings.NewReader("0123456789"))}
	for _, want := range []string{"0123", "4567", "89"} {
		p := make([]byte, 4)
		n, err := r.Read(p)
		if string(p[:n]) != want || err != nil {
			t.Errorf("read %q and %v, want %q", p[:n], err, want)
		}
	}
	if n, err := r.Read(make([]byte, 4)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes and %v at the end", n, err)
	}
	if n, err := (fullReader{io.MultiReader(strings.NewReader("01"), iotest.ErrReader(io.ErrClosedPipe))}).Read(make([]byte, 4)); n != 2 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("read %d bytes and %v, want 2 and the reader's error", n, err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"`+digestA+`","size":1}]}`, 3)
	f.Add(`{"manifests":[{},{}],"manifests":[]}`, 1)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 0), 1000)
		index, err := ReadIndex(strings.NewReader(text), limit)
		if len(index.Manifests) > limit {
			t.Errorf("%d manifests, the limit is %d", len(index.Manifests), limit)
		}
		if err != nil && index.More {
			t.Errorf("an error %v and more", err)
		}
	})
}

// A text that is cut must not hold the whole: a list of long digests is as large as one page may be, and hundreds are held.
func TestReadIndexHoldsNothingOfWhatIsCut(t *testing.T) {
	long := strings.Repeat("d", 1<<20)
	text := `{"manifests":[{"digest":"` + long + `"}]}`
	kept := make([]Index, 16)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i], _ = ReadIndex(strings.NewReader(text), 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 1<<20 {
		t.Errorf("%d lists of one digest hold %d bytes", len(kept), held)
	}
	runtime.KeepAlive(kept)
}
