// Package runtime carries the programs that containers need beside ikada itself, runc and the shim, and puts them on
// disk. The container runtime is in package containerd, an in-memory one for tests in package fake, and the suite that
// both pass in package runtimetest. Start at [Unpack].
package runtime

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/api"
)

//go:embed bin
var binaries embed.FS

// The names of the programs.
const (
	Runc = "runc"
	Shim = "ikada-shim"
)

// Unpack puts the embedded programs into dir. One that is already there with the same content is left as it is; one
// that differs is replaced atomically, and processes that run the old one go on with it.
func Unpack(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpack programs: %w", err)
	}
	for _, name := range []string{Runc, Shim} {
		content, err := fs.ReadFile(binaries, "bin/"+name)
		if err != nil {
			return api.Errorf(api.Internal, "unpack %s: it was not built into this program: run make build", name)
		}
		if err := unpack(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	return nil
}

func unpack(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return os.Chmod(path, 0o755)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o755)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
