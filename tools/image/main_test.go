package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// standIn is a module with a program of the same shape, so that these tests need nothing of the main module.
func standIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":             "module example.com/standin\n\ngo 1.26.0\n",
		"cmd/ratify/main.go": "package main\n\nvar version = \"none\"\n\nfunc main() { println(version) }\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func makeImage(t *testing.T, args ...string) (string, string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image")
	var stdout bytes.Buffer
	if err := run(t.Context(), append(args, "-o", out), &stdout); err != nil {
		t.Fatal(err)
	}
	return out, stdout.String()
}

// sums returns the digest of each file of a folder.
func sums(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	found := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// images reads a layout: its only index, checked against all digests, and its images by platform.
func images(t *testing.T, dir string) (v1.Descriptor, map[string]v1.Image) {
	t.Helper()
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the layout lists %d manifests", len(manifest.Manifests))
	}
	entry := manifest.Manifests[0]
	index, err := root.ImageIndex(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]v1.Image{}
	for _, m := range inner.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		found[m.Platform.String()] = image
	}
	return entry, found
}

func TestSameBytesTwice(t *testing.T) {
	args := []string{"-version", "v1.2.3", "-revision", "abc"}
	first, told := makeImage(t, append(args, "-source", standIn(t))...)
	second, toldAgain := makeImage(t, append(args, "-source", standIn(t))...) // in another folder
	one, two := sums(t, first), sums(t, second)
	if len(one) != 9 { // oci-layout, index.json, the index, and a manifest, a configuration and a layer for each platform
		t.Errorf("the layout has %d files", len(one))
	}
	if len(one) != len(two) {
		t.Errorf("%d files, then %d", len(one), len(two))
	}
	for name, sum := range one {
		if two[name] != sum {
			t.Errorf("%s differs", name)
		}
	}
	last := func(text string) string {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		return lines[len(lines)-1]
	}
	if last(told) != last(toldAgain) || !strings.HasPrefix(last(told), "v1.2.3@sha256:") {
		t.Errorf("it says %q, then %q", last(told), last(toldAgain))
	}
}

func TestImage(t *testing.T) {
	out, told := makeImage(t, "-source", standIn(t), "-version", "v1.2.3+meta", "-revision", "abc")
	entry, found := images(t, out)
	if entry.MediaType != types.OCIImageIndex || entry.Annotations[refName] != "v1.2.3-meta" {
		t.Errorf("listed as %s, %v", entry.MediaType, entry.Annotations)
	}
	if !strings.Contains(told, entry.Digest.String()) {
		t.Errorf("it says %q, the digest is %s", told, entry.Digest)
	}
	if len(found) != 2 {
		t.Fatalf("%d platforms", len(found))
	}
	machines := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	for name, image := range found {
		t.Run(name, func(t *testing.T) {
			checkConfig(t, name, image)
			program := checkLayer(t, image)
			checkProgram(t, program, machines[name])
			if name == runtime.GOOS+"/"+runtime.GOARCH {
				checkVersion(t, program)
			}
		})
	}
}

func checkConfig(t *testing.T, platform string, image v1.Image) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS+"/"+file.Architecture != platform {
		t.Errorf("made for %s/%s", file.OS, file.Architecture)
	}
	if file.Config.User != "65532:65532" || !slices.Equal(file.Config.Entrypoint, []string{"/ratify"}) || file.Config.Cmd != nil || file.Config.Env != nil {
		t.Errorf("user %q, entry point %q, command %q, environment %q", file.Config.User, file.Config.Entrypoint, file.Config.Cmd, file.Config.Env)
	}
	if !file.Created.Equal(epoch) || !file.History[0].Created.Equal(epoch) {
		t.Errorf("created %v, %v", file.Created, file.History)
	}
	for key, want := range map[string]string{"version": "v1.2.3+meta", "revision": "abc", "licenses": "Apache-2.0", "source": "https://github.com/ratify-provider/ratify"} {
		if got := file.Config.Labels["org.opencontainers.image."+key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	if media, err := image.MediaType(); err != nil || media != types.OCIManifestSchema1 {
		t.Errorf("media type %s, %v", media, err)
	}
}

// checkLayer sees that the image holds one file and nothing else, and returns it.
func checkLayer(t *testing.T, image v1.Image) []byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("%d layers", len(layers))
	}
	stream, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	archive := tar.NewReader(stream)
	header, err := archive.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "ratify" || header.Typeflag != tar.TypeReg || header.Mode != 0o555 || header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(epoch) {
		t.Errorf("the layer holds %+v", header)
	}
	program, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := archive.Next(); err != io.EOF {
		t.Errorf("the layer also holds %+v, %v", next, err)
	}
	return program
}

// checkProgram sees that nothing but the kernel is needed to run it: on scratch there is no dynamic linker.
func checkProgram(t *testing.T, program []byte, machine elf.Machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != machine {
		t.Errorf("built for %v", file.Machine)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("it is not static: %v", segment.Type)
		}
	}
	if file.Section(".symtab") != nil || file.Section(".debug_info") != nil {
		t.Error("it is not stripped")
	}
}

func checkVersion(t *testing.T, program []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratify")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "v1.2.3+meta" {
		t.Errorf("the program says %q, %v", out, err)
	}
}

func TestBinariesMadeElsewhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ratify-linux-amd64"), []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := makeImage(t, "-binary-dir", dir, "-platforms", "linux/amd64")
	_, found := images(t, out)
	if len(found) != 1 || string(checkLayer(t, found["linux/amd64"])) != "program" {
		t.Errorf("found %v", found)
	}
	// What is there is replaced, for it is a layout.
	if err := run(t.Context(), []string{"-binary-dir", dir, "-platforms", "linux/amd64", "-version", "v2", "-o", out}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if entry, _ := images(t, out); entry.Annotations[refName] != "v2" {
		t.Errorf("listed as %v", entry.Annotations)
	}
}

func TestRefusals(t *testing.T) {
	full := t.TempDir()
	kept := filepath.Join(full, "precious")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	binaries := t.TempDir()
	if err := os.WriteFile(filepath.Join(binaries, "ratify-linux-amd64"), []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no output", nil, "-o is required"},
		{"another argument", []string{"-o", "x", "y"}, `unknown argument "y"`},
		{"a platform of one word", []string{"-o", "x", "-platforms", "linux"}, `platform "linux"`},
		{"a program that is not there", []string{"-o", filepath.Join(t.TempDir(), "x"), "-binary-dir", t.TempDir()}, "ratify-linux-amd64"},
		{"a program that does not build", []string{"-o", filepath.Join(t.TempDir(), "x"), "-source", standIn(t), "-package", "./missing"}, "build ./missing for linux/amd64"},
		{"a folder of other things", []string{"-o", full, "-binary-dir", binaries, "-platforms", "linux/amd64"}, "something else than an image layout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), tt.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
