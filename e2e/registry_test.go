package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ikada/ikada/api"
)

func (n *Node) craneAuth() crane.Option {
	return crane.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "token", Password: n.Token}))
}

func TestPushThenDeploy(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	img, err := appImage("pushed")
	if err != nil {
		t.Fatal(err)
	}
	ref := fmt.Sprintf("%s/%s/pushed:latest", a.Listen, a.Name)
	if err := crane.Push(img, ref, crane.Insecure, a.craneAuth()); err != nil {
		t.Fatal(err)
	}
	digest, err := crane.Digest(ref, crane.Insecure, a.craneAuth())
	if err != nil {
		t.Fatal(err)
	}
	a.Compose("services:\n  web:\n    image: " + ref + "\n    ports: [\"{port}:8080\"]\n    x-ikada: {strategy: {monitor: 300ms}}\n")
	a.Deploy()
	if got := a.Get("/"); got != "pushed" {
		t.Errorf("app answers %q", got)
	}
	if got := a.Status().Services[0].Image; !strings.HasSuffix(got, "@"+digest) {
		t.Errorf("image is %s, expected the digest %s", got, digest)
	}

	// The tag moves: the same Compose file is a new release.
	if img, err = appImage("pushed again"); err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(img, ref, crane.Insecure, a.craneAuth()); err != nil {
		t.Fatal(err)
	}
	a.Deploy().Want(t, exitDone, "1 → 2")
	if got := a.Get("/"); got != "pushed again" {
		t.Errorf("app answers %q", got)
	}

	// By digest, from the command line.
	a.Deploy("--image", fmt.Sprintf("web=%s/%s/pushed@%s", a.Listen, a.Name, digest))
	if got := a.Get("/"); got != "pushed" {
		t.Errorf("app answers %q", got)
	}
	a.Run("deploy", "--image", "nothing=x").Want(t, exitUsage, "nothing", "web")
}

func TestBuildThenPull(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.File("Dockerfile", "FROM {registry}/base\nRUN echo built > /built\nCMD sleep 1000\n")
	a.Compose("services:\n  job:\n    build: .\n    init: true\n    x-ikada: {strategy: {monitor: 300ms}}\n")
	a.Deploy()
	image := a.Status().Services[0].Image
	ref := strings.Replace(image, api.RegistryHost, a.Listen, 1)
	img, err := crane.Pull(ref, crane.Insecure, a.craneAuth())
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	if err := crane.SaveOCI(img, t.TempDir()); err != nil {
		t.Fatalf("pull the layers of %s: %v", ref, err)
	}
}

func TestSkopeo(t *testing.T) {
	t.Parallel()
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed; `make packages` installs it")
	}
	a := shared.App(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), skopeo, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+a.Path)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	creds := "token:" + a.Token
	dir := filepath.Join(a.Path, "image")
	run("copy", "--src-tls-verify=false", "--src-creds", creds, "docker://"+a.Listen+"/app:v1", "dir:"+dir)
	run("copy", "--dest-tls-verify=false", "--dest-creds", creds, "dir:"+dir, "docker://"+a.Listen+"/"+a.Name+"/skopeo:v9")
	out := run("inspect", "--tls-verify=false", "--creds", creds, "docker://"+a.Listen+"/"+a.Name+"/skopeo:v9")
	if !strings.Contains(out, `"VERSION=v1"`) {
		t.Errorf("inspect prints %s", out)
	}
	run("login", "--tls-verify=false", "-u", "token", "-p", a.Token, "--authfile", filepath.Join(a.Path, "auth.json"), a.Listen)
}

func TestRegistryRefusesStrangers(t *testing.T) {
	t.Parallel()
	ref, err := name.ParseReference(shared.Listen+"/app:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for who, auth := range map[string]authn.Authenticator{
		"anonymous": authn.Anonymous,
		"stranger":  authn.FromConfig(authn.AuthConfig{Username: "token", Password: "ikt_not_a_token"}),
	} {
		if _, err := remote.Image(ref, remote.WithAuth(auth)); !unauthorized(err) {
			t.Errorf("%s pulls: %v, expected 401", who, err)
		}
		img, err := appImage("v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref.Context().Tag("stolen"), img, remote.WithAuth(auth)); !unauthorized(err) {
			t.Errorf("%s pushes: %v, expected 401", who, err)
		}
	}
	if _, err := remote.Image(ref, shared.remoteAuth()); err != nil {
		t.Errorf("with a token: %v", err)
	}
}

func unauthorized(err error) bool {
	e, ok := errors.AsType[*transport.Error](err)
	return ok && e.StatusCode == http.StatusUnauthorized
}
