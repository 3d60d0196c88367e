package upheaval

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A volume is a directory as the kubelet mounts a ConfigMap: each file is a symbolic link into ..data, which is one to a
// directory of this generation, and is replaced as a whole.
type volume struct {
	dir        string
	generation int
}

// path is where a file of the volume is.
func (v *volume) path(name string) string { return filepath.Join(v.dir, name) }

// write replaces all files.
func (v *volume) write(files map[string][]byte) error {
	before := v.path(fmt.Sprintf("..%d", v.generation))
	v.generation++
	name := fmt.Sprintf("..%d", v.generation)
	if err := os.MkdirAll(v.path(name), 0o755); err != nil {
		return err
	}
	for file, data := range files {
		if err := os.WriteFile(filepath.Join(v.path(name), file), data, 0o600); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Symlink(name, v.path("..data_tmp")), os.Rename(v.path("..data_tmp"), v.path("..data"))); err != nil {
		return err
	}
	for file := range files {
		if err := os.Symlink(filepath.Join("..data", file), v.path(file)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return os.RemoveAll(before)
}

// replace replaces one file so that nobody ever reads half of it.
func replace(path string, data []byte) error {
	return errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
}
