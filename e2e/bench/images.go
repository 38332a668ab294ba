package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
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

// images are two versions of one app, each two layers: busybox, for Docker's health check, and examples/hello.
type images [2]v1.Image

// makeImages compiles the example twice and packs it. dir is for temporary files.
func makeImages(ctx context.Context, source, dir string) (images, error) {
	var out images
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return out, fmt.Errorf("%w: install Debian's busybox-static", err)
	}
	base, err := layered(empty.Image, map[string][]byte{"bin/busybox": busybox})
	if err != nil {
		return out, err
	}
	app := filepath.Join(dir, "app")
	if err := os.CopyFS(app, os.DirFS(source)); err != nil {
		return out, err
	}
	for i := range out {
		if err := setVersion(app, fmt.Sprint("v", i+1)); err != nil {
			return out, err
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", filepath.Join(dir, "hello"), ".")
		cmd.Dir, cmd.Env = app, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if text, err := cmd.CombinedOutput(); err != nil {
			return out, fmt.Errorf("compile %s: %w\n%s", source, err, text)
		}
		program, err := os.ReadFile(filepath.Join(dir, "hello"))
		if err != nil {
			return out, err
		}
		if out[i], err = layered(base, map[string][]byte{"hello": program}); err != nil {
			return out, err
		}
		config := v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{Entrypoint: []string{"/hello"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}}
		if out[i], err = configured(out[i], config); err != nil {
			return out, err
		}
	}
	return out, nil
}

// setVersion makes the example's source that of a version.
func setVersion(dir, version string) error {
	text := fmt.Sprintf("package main\n\nconst (\n\tversion = %q\n\tbroken  = false\n)\n", version)
	return os.WriteFile(filepath.Join(dir, "version.go"), []byte(text), 0o644)
}

// layered adds a layer of programs.
func layered(img v1.Image, programs map[string][]byte) (v1.Image, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for path, content := range programs {
		if dir, _, ok := strings.Cut(path, "/"); ok {
			if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

// configured sets an image's configuration and keeps its layers.
func configured(img v1.Image, config v1.ConfigFile) (v1.Image, error) {
	have, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config.RootFS, config.History = have.RootFS, have.History
	return mutate.ConfigFile(img, &config)
}

// push sends an image to a registry on this machine, whose password is the token.
func push(ctx context.Context, img v1.Image, ref, token string) error {
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(tag, img, remote.WithContext(ctx), withToken(token))
}

// pull gives an image of a registry on this machine; its layers are read when they are needed.
func pull(ctx context.Context, ref, token string) (v1.Image, error) {
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return nil, err
	}
	return remote.Image(tag, remote.WithContext(ctx), withToken(token))
}

func withToken(token string) remote.Option {
	return remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "token", Password: token}))
}

// writeArchive writes an image as `docker load` reads it.
func writeArchive(w io.Writer, img v1.Image, ref string) error {
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return err
	}
	return tarball.Write(tag, img, w)
}
