package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// call asks the API over TCP.
func (n *Node) call(t *testing.T, token, method, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestNothingIsOpenToStrangers(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	for _, path := range []string{"/api/v1/apps", "/api/v1/version", "/api/v1/nodes", "/api/v1/tokens", "/api/v1/events", "/v2/", "/v2/_catalog", "/api/v1/openapi.json"} {
		if code := a.call(t, "", http.MethodGet, path); code != http.StatusUnauthorized {
			t.Errorf("anonymous GET %s: %d, expected 401", path, code)
		}
	}
	for _, path := range []string{"/api/v1/tokens", "/api/v1/builds", "/api/v1/shutdown", "/api/v1/prune"} {
		if code := a.call(t, "ikt_wrong", http.MethodPost, path); code != http.StatusUnauthorized {
			t.Errorf("POST %s with a wrong token: %d, expected 401", path, code)
		}
	}
	if code := a.call(t, "", http.MethodGet, "/api/v1/health"); code != http.StatusOK {
		t.Errorf("health: %d", code)
	}
	if code := a.call(t, a.Token, http.MethodGet, "/api/v1/apps"); code != http.StatusOK {
		t.Errorf("apps with a token: %d", code)
	}
	info, err := os.Stat(a.Socket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v; expected 0600", info.Mode(), err)
	}

	// The command line over TCP, with and without a token.
	tcp := "http://" + a.Listen
	a.Run("--host", tcp, "status", "--all").Want(t, exitError, "token", "IKADA_TOKEN")
	cmd := a.Command(t.Context(), a.Path, "--host", tcp, "status", "--all")
	cmd.Env = append(cmd.Env, "IKADA_TOKEN="+a.Token)
	finish(t, cmd).Want(t, exitDone)
	a.Run("--host", "http://127.0.0.1:9", "status").Want(t, exitError, "remedy")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	name := a.Name + "-token"
	secret := strings.TrimSpace(a.Run("token", "create", name).Want(t, exitDone).Stdout)
	if code := a.call(t, secret, http.MethodGet, "/api/v1/apps"); code != http.StatusOK {
		t.Errorf("a new token: %d", code)
	}
	a.Run("token", "ls").Want(t, exitDone, name, "never")
	a.Run("token", "create", name).Want(t, exitError, name)
	a.Run("token", "rm", name).Want(t, exitDone)
	if code := a.call(t, secret, http.MethodGet, "/api/v1/apps"); code != http.StatusUnauthorized {
		t.Errorf("a removed token: %d", code)
	}
	var brief api.NewToken
	for life := 2 * time.Second; ; life *= 2 { // a busy machine may take longer for the two lines than a short one lasts
		began := time.Now()
		a.Run("token", "create", name, "--expires", life.String(), "--json").Want(t, exitDone).JSON(t, &brief)
		code := a.call(t, brief.Secret, http.MethodGet, "/api/v1/apps")
		if code == http.StatusOK {
			break
		}
		if time.Since(began) < life {
			t.Fatalf("a token that is still valid: %d", code)
		}
		a.Run("token", "rm", name).Want(t, exitDone)
	}
	Until(t, 5*time.Second, func() string {
		if code := a.call(t, brief.Secret, http.MethodGet, "/api/v1/apps"); code != http.StatusUnauthorized {
			return fmt.Sprintf("a token past its time: %d", code)
		}
		return ""
	})
	a.Run("token", "rm", name).Want(t, exitDone)
	a.Run("token", "rm", name).Want(t, exitError, name)
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+shared.Listen+"/api/v1/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+shared.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var doc struct {
		OpenAPI string                     `json:"openapi"`
		Paths   map[string]json.RawMessage `json:"paths"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) < 20 {
		t.Errorf("OpenAPI %q with %d paths", doc.OpenAPI, len(doc.Paths))
	}
}

// A secret's value stands nowhere on the disk in the clear: not in the store, the log, the containers' state or the
// builder's.
func TestSecretsAreNotOnTheDisk(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	value := "q7XvErYsEcReT" + a.Name
	login := "p4sSwOrD" + a.Name
	a.File("secret.txt", value)
	a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    secrets: [key]
    x-ikada: {strategy: {monitor: 300ms}}
secrets: {key: {file: secret.txt}}
`)
	a.Deploy()
	if got := a.Get("/read?path=/run/secrets/key"); got != value {
		t.Errorf("the task reads %q", got)
	}
	cmd := a.Command(t.Context(), a.Path, "registry", "login", a.Name+".example.com", "--username", "me", "--password-stdin")
	cmd.Stdin = strings.NewReader(login)
	finish(t, cmd).Want(t, exitDone)
	t.Cleanup(func() { a.Run("registry", "logout", a.Name+".example.com").Want(t, exitDone) })
	a.Run("registry", "ls").Want(t, exitDone, "me")
	for _, args := range [][]string{{"releases", "--json"}, {"status", "--json"}, {"deployments", "--json"}, {"events", "--json"}, {"registry", "ls", "--json"}} {
		if out := a.Run(args...).Stdout; strings.Contains(out, value) || strings.Contains(out, login) {
			t.Errorf("%v prints a secret", args)
		}
	}
	unix.Sync()
	dirs := []string{a.Dir, a.Dir + ".log"}
	if run, _ := filepath.Glob("/run/ikada-*"); len(run) > 0 {
		dirs = append(dirs, run...)
	}
	for _, dir := range dirs {
		scan(t, dir, value, login)
	}
}

// scan reads every file below dir that lies on a disk.
func scan(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed meanwhile
		}
		if d.IsDir() {
			var st unix.Statfs_t
			if unix.Statfs(path, &st) == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.PROC_SUPER_MAGIC || st.Type == unix.OVERLAYFS_SUPER_MAGIC) {
				return fs.SkipDir // memory, or a view of files that are read where they lie
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil
		}
		defer func() { _ = f.Close() }()
		b, err := readSome(f)
		if err != nil {
			return nil
		}
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds a secret in the clear", path)
			}
		}
		return nil
	})
}

// readSome reads a file up to 64 MiB, which only blobs of images exceed.
func readSome(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), 64<<20))
	n, _ := f.ReadAt(b, 0)
	return b[:n], nil
}
