// Command baseimage makes base images out of what the machine has and pushes them to a registry: the demonstration,
// the tests and the benchmarks need some, and no registry on the Internet.
//
//	baseimage busybox REF    Debian's busybox-static, under all its names
//	baseimage golang REF     busybox and this machine's Go toolchain at /usr/local/go, like the official golang image
//
// IKADA_TOKEN is the password for the registry.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: baseimage busybox|golang REF")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "baseimage:", err)
		os.Exit(1)
	}
}

func run(kind, ref string) error {
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return err
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux",
		RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Env: []string{"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}}})
	if err != nil {
		return err
	}
	layers := []func(*tar.Writer) error{busybox}
	if kind == "golang" {
		layers = append(layers, golang)
	} else if kind != "busybox" {
		return fmt.Errorf("unknown image %q", kind)
	}
	for _, fill := range layers {
		if img, err = add(img, fill); err != nil {
			return err
		}
	}
	auth := authn.FromConfig(authn.AuthConfig{Username: "token", Password: os.Getenv("IKADA_TOKEN")})
	return remote.Write(tag, img, remote.WithAuth(auth))
}

// add appends a layer, uncompressed: it crosses the loopback interface only.
func add(img v1.Image, fill func(*tar.Writer) error) (v1.Image, error) {
	file, err := os.CreateTemp("", "baseimage-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name()) // the descriptor is enough
	w := tar.NewWriter(file)
	if err := errors.Join(fill(w), w.Close()); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, 0, size)), nil
	}, tarball.WithCompressionLevel(1))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

func busybox(w *tar.Writer) error {
	const path = "/bin/busybox"
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: install Debian's busybox-static", err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's names: %w", err)
	}
	for _, d := range []struct {
		name string
		mode int64
	}{{"bin/", 0o755}, {"etc/", 0o755}, {"root/", 0o700}, {"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/bin/", 0o755}, {"var/", 0o755}} {
		if err := w.WriteHeader(&tar.Header{Name: d.name, Typeflag: tar.TypeDir, Mode: d.mode}); err != nil {
			return err
		}
	}
	if err := file(w, "bin/busybox", 0o755, content); err != nil {
		return err
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	if err := file(w, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")); err != nil {
		return err
	}
	return file(w, "etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
}

func file(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(content))
	return err
}

// golang adds what `go build` needs of the toolchain: no tests, no documentation, no API lists.
func golang(w *tar.Writer) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find the Go toolchain: %w", err)
	}
	root, err := filepath.EvalSymlinks(strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && (rel == "test" || rel == "doc" || rel == "api" || rel == "misc" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil || !d.IsDir() && !info.Mode().IsRegular() || strings.HasSuffix(rel, "_test.go") {
			return err
		}
		hdr, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		hdr.Name = filepath.Join("usr/local/go", rel)
		hdr.Uid, hdr.Gid, hdr.Uname, hdr.Gname = 0, 0, "", ""
		if d.IsDir() {
			hdr.Name += "/"
			return w.WriteHeader(hdr)
		}
		if err := w.WriteHeader(hdr); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	})
}
