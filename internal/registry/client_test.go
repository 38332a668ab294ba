package registry

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The clients that people use, against the registry.

// run runs a program and gives what it printed on stdout.
func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return strings.TrimSpace(stdout.String())
}

func TestGoContainerRegistry(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fixture) {
		img, err := random.Image(100_000, 3)
		must(t, err)
		must(t, crane.Push(img, f.host+"/lib/app:v1", crane.Insecure))
		pulled, err := crane.Pull(f.host+"/lib/app:v1", crane.Insecure)
		must(t, err)
		want, err := img.Digest()
		must(t, err)
		if got, err := pulled.Digest(); err != nil || got != want {
			t.Fatalf("pulled %s, %v; want %s", got, err, want)
		}
		must(t, crane.Copy(f.host+"/lib/app:v1", f.host+"/lib/copy:v1", crane.Insecure)) // mounts
		idx, err := random.Index(10_000, 2, 3)
		must(t, err)
		ref, err := name.ParseReference(f.host+"/lib/index:v1", name.Insecure)
		must(t, err)
		must(t, remote.WriteIndex(ref, idx))
		ii, err := remote.Index(ref)
		must(t, err)
		m, err := ii.IndexManifest()
		must(t, err)
		if len(m.Manifests) != 3 {
			t.Fatalf("index of %d, want 3", len(m.Manifests))
		}

		desc, err := remote.Get(ref)
		must(t, err)
		attached, ok := mutate.Subject(empty.Image, desc.Descriptor).(interface{ RawManifest() ([]byte, error) })
		if !ok {
			t.Fatal("no manifest to attach")
		}
		raw, err := attached.RawManifest()
		must(t, err)
		f.pushBlob(t, "lib/index", mustBytes(t, empty.Image.RawConfigFile))
		f.putManifest(t, "lib/index", "attached", "", raw).want(t, 201)
		digestRef := ref.Context().Digest(desc.Digest.String())
		refs, err := remote.Referrers(digestRef)
		must(t, err)
		rm, err := refs.IndexManifest()
		must(t, err)
		if len(rm.Manifests) != 1 {
			t.Fatalf("%d referrers, want 1", len(rm.Manifests))
		}
	})
}

func mustBytes(t *testing.T, get func() ([]byte, error)) []byte {
	t.Helper()
	b, err := get()
	must(t, err)
	return b
}

// TestCrane runs the crane program of the module that go.mod names.
func TestCrane(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "crane")
	run(t, ".", "go", "build", "-o", bin, "github.com/google/go-containerregistry/cmd/crane")
	f := newFixture(t)
	must(t, os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o600))
	run(t, dir, "tar", "-cf", "layer.tar", "hello.txt")
	app := f.host + "/crane/app"
	run(t, dir, bin, "append", "--insecure", "--oci-empty-base", "-f", "layer.tar", "-t", app+":v1")
	run(t, dir, bin, "tag", "--insecure", app+":v1", "v2")
	if got := run(t, dir, bin, "ls", "--insecure", app); got != "v1\nv2" {
		t.Fatalf("tags %q", got)
	}
	if got := run(t, dir, bin, "catalog", "--insecure", f.host); got != "crane/app" {
		t.Fatalf("catalog %q", got)
	}
	run(t, dir, bin, "pull", "--insecure", app+":v2", "image.tar")
	run(t, dir, bin, "push", "--insecure", "image.tar", app+":v3")
	run(t, dir, bin, "validate", "--insecure", "--remote", app+":v3")
	run(t, dir, bin, "copy", "--insecure", app+":v1", f.host+"/crane/copy:v1")
	d := run(t, dir, bin, "digest", "--insecure", app+":v1")
	run(t, dir, bin, "delete", "--insecure", app+"@"+d)
	if got := run(t, dir, bin, "ls", "--insecure", f.host+"/crane/copy"); got != "v1" {
		t.Fatalf("tags of the copy %q", got)
	}
}

// TestSkopeo runs Debian's skopeo.
func TestSkopeo(t *testing.T) {
	bin, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed (apt-get install skopeo)")
	}
	f := newFixture(t)
	dir := t.TempDir()
	img := newImage(t, "skopeo", 2)
	f.pushImage(t, "skopeo/app", "v1", img)
	src, dst := "docker://"+f.host+"/skopeo/app:v1", "docker://"+f.host+"/skopeo/other:v1"
	run(t, dir, bin, "--insecure-policy", "copy", "--src-tls-verify=false", src, "oci:"+dir+"/layout:v1")
	run(t, dir, bin, "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+dir+"/layout:v1", dst)
	run(t, dir, bin, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", src, dst+"copy")
	if got := run(t, dir, bin, "inspect", "--tls-verify=false", "--format", "{{.Digest}}", dst); got != img.digest.String() {
		t.Fatalf("digest %s, want %s", got, img.digest)
	}
	if got := run(t, dir, bin, "list-tags", "--tls-verify=false", strings.TrimSuffix(dst, ":v1")); !strings.Contains(got, "v1copy") {
		t.Fatalf("tags %s", got)
	}
	run(t, dir, bin, "delete", "--tls-verify=false", dst)
	f.do(t, "GET", "/v2/skopeo/other/manifests/v1", nil).want(t, 404)
}

// TestORAS runs a client of the oras library, which has a module of its own so that ikada's does not depend on it.
func TestORAS(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "client")
	run(t, "conformance", "go", "build", "-o", bin, ".")
	f := newFixture(t)
	if got := run(t, ".", bin, f.host+"/oras/app"); got != "ok" {
		t.Fatalf("client said %q", got)
	}
}
