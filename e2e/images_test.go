package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// The images that every node of these tests has: {registry}/base has busybox, {registry}/app:v1 to v4 have busybox and
// /testapp as their command, each with its VERSION in the environment.
const versions = 4

// layers of the images, made once.
var layers struct{ base, app v1.Layer }

func buildTestapp(path string) error {
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testapp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build testapp: %w\n%s", err, out)
	}
	app, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w: install Debian's busybox-static", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return err
	}
	layers.base, err = layer(func(w *tar.Writer) {
		for _, dir := range []string{"bin/", "etc/", "data/", "tmp/", "root/"} {
			mode := int64(0o755)
			if dir == "tmp/" {
				mode = 0o1777
			}
			_ = w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode})
		}
		add(w, "bin/busybox", 0o755, busybox)
		add(w, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nworker:x:1234:1235:worker:/data:/bin/sh\n"))
		add(w, "etc/group", 0o644, []byte("root:x:0:\nworker:x:1235:\nextra:x:777:\n"))
		add(w, "data/seed", 0o644, []byte("from the image"))
		for applet := range bytes.FieldsSeq(applets) {
			if string(applet) != "busybox" {
				_ = w.WriteHeader(&tar.Header{Name: "bin/" + string(applet), Typeflag: tar.TypeSymlink, Linkname: "busybox"})
			}
		}
	})
	if err != nil {
		return err
	}
	layers.app, err = layer(func(w *tar.Writer) { add(w, "testapp", 0o755, app) })
	return err
}

// layer makes a layer; a write to memory cannot fail.
func layer(fill func(*tar.Writer)) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fill(w)
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithCompressionLevel(1))
}

func add(w *tar.Writer, name string, mode int64, content []byte) {
	_ = w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))})
	_, _ = w.Write(content)
}

// imageOf puts layers under a configuration.
func imageOf(config v1.Config, of ...v1.Layer) (v1.Image, error) {
	config.Env = append([]string{"PATH=/bin:/usr/bin"}, config.Env...)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux",
		RootFS: v1.RootFS{Type: "layers"}, Config: config})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, of...)
}

// appImage is the test app under a version.
func appImage(version string) (v1.Image, error) {
	return imageOf(v1.Config{Cmd: []string{"/testapp"}, Env: []string{"VERSION=" + version},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}}}, layers.base, layers.app)
}

// pushImages makes the node's token and pushes the images to its registry.
func (n *Node) pushImages() error {
	c, err := client.New("unix://"+n.Socket(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	token, err := c.CreateToken(context.Background(), api.TokenRequest{Name: "e2e"})
	if err != nil {
		return err
	}
	n.Token = token.Secret
	base, err := imageOf(v1.Config{Cmd: []string{"sh"}}, layers.base)
	if err != nil {
		return err
	}
	if err := n.push("base:latest", base); err != nil {
		return err
	}
	for i := range versions {
		version := fmt.Sprintf("v%d", i+1)
		img, err := appImage(version)
		if err != nil {
			return err
		}
		if err := n.push("app:"+version, img); err != nil {
			return err
		}
	}
	return nil
}

// push writes an image to the node's registry.
func (n *Node) push(ref string, img v1.Image) error {
	tag, err := name.NewTag(n.Listen+"/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(tag, img, n.remoteAuth())
}

func (n *Node) remoteAuth() remote.Option {
	return remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "token", Password: n.Token}))
}

// WithImages pushes the images to a node of a test's own.
func (n *Node) WithImages(t *testing.T) *Node {
	t.Helper()
	if err := n.pushImages(); err != nil {
		t.Fatalf("push images: %v", err)
	}
	return n
}
