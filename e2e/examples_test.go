package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goImage pushes an image with this machine's Go toolchain to the node's registry and gives its reference.
func goImage(t *testing.T, n *Node) string {
	t.Helper()
	ref := n.Listen + "/golang:1.26"
	push := exec.CommandContext(t.Context(), "go", "run", "./baseimage", "golang", ref)
	push.Env = append(os.Environ(), "IKADA_TOKEN="+n.Token)
	if out, err := push.CombinedOutput(); err != nil {
		t.Fatalf("push %s: %v\n%s", ref, err, out)
	}
	return ref
}

// example deploys one of the examples as it lies there, under the name and the port of a.
func example(t *testing.T, a *App, name string, variables ...string) Result {
	t.Helper()
	dir, err := filepath.Abs("../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // it compiles Go's library
	defer cancel()
	cmd := a.Command(ctx, dir, "deploy", "--project", a.Name, "--build-arg", "BASE="+a.Listen+"/base:latest")
	cmd.Env = append(cmd.Env, append(variables, fmt.Sprintf("PORT=%d", a.Port), "GO_IMAGE="+a.Listen+"/golang:1.26")...)
	return finish(t, cmd).Want(t, exitDone)
}

// TestExamples deploys every example from its source.
func TestExamples(t *testing.T) {
	t.Parallel()
	goImage(t, shared)
	tried := map[string]func(t *testing.T, a *App){
		"hello":  hello,
		"shop":   shop,
		"static": static,
		"worker": worker,
	}
	entries, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		check := tried[e.Name()]
		if check == nil {
			t.Errorf("example %s is not tried", e.Name())
			continue
		}
		t.Run(e.Name(), func(t *testing.T) { check(t, shared.App(t)) })
	}
}

func hello(t *testing.T, a *App) {
	example(t, a, "hello")
	if got := a.Get("/"); !strings.HasPrefix(got, "hello v1 from web-") {
		t.Errorf("hello answers %q", got)
	}
}

// static has its port in the Dockerfile: it is deployed from a copy with the test's.
func static(t *testing.T, a *App) {
	const dir = "../examples/static"
	if err := os.CopyFS(a.Path, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	dockerfile = bytes.ReplaceAll(dockerfile, []byte("8081"), fmt.Append(nil, a.Port))
	if err := os.WriteFile(filepath.Join(a.Path, "Dockerfile"), dockerfile, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Deploy("--project", a.Name, "--build-arg", "BASE="+a.Listen+"/base:latest")
	if got := a.Get("/"); !strings.Contains(got, "A static site") {
		t.Errorf("the site answers %q", got)
	}
}

// worker ends its item before it goes.
func worker(t *testing.T, a *App) {
	example(t, a, "worker", "SECONDS_PER_ITEM=0.2")
	if n := len(a.Tasks("worker")); n != 2 {
		t.Errorf("%d workers, expected 2", n)
	}
	a.In(t, "/", "scale", "--app", a.Name, "worker=1").Want(t, exitDone)
	Until(t, 30*time.Second, func() string {
		if strings.Contains(a.In(t, "/", "logs", "--app", a.Name).Stdout, "worker-2 stops after ") {
			return ""
		}
		return "worker-2 says that it stops"
	})
	Until(t, 30*time.Second, func() string { // it says so before its process ends
		var tasks []struct {
			Slot   int
			Status struct{ ExitCode *int }
		}
		a.In(t, "/", "ps", "--all", "--json", "--app", a.Name).Want(t, exitDone).JSON(t, &tasks)
		for _, task := range tasks {
			if code := task.Status.ExitCode; task.Slot == 2 && code != nil {
				if *code != 0 {
					t.Errorf("worker.2 ended with exit code %d, expected 0", *code)
				}
				return ""
			}
		}
		return "worker.2 has no exit code"
	})
}

// shop keeps its orders over a new password, with which only the tasks that use it are replaced.
func shop(t *testing.T, a *App) {
	example(t, a, "shop", "STORE_PASSWORD=first")
	order := func() {
		t.Helper()
		response, err := http.PostForm(a.URL("/orders"), url.Values{"product": {"rope"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("order: %s", response.Status)
		}
	}
	order()
	if page := a.Get("/"); !strings.Contains(page, "paddle, 30") || !strings.Contains(page, "1 orders so far") {
		t.Errorf("page: %s", page)
	}
	web := a.Tasks("web")
	example(t, a, "shop", "STORE_PASSWORD=second")
	order()
	if page := a.Get("/"); !strings.Contains(page, "2 orders so far") {
		t.Errorf("page after a new password: %s", page)
	}
	after := a.Tasks("web")
	if len(web) != 2 || len(after) != 2 || web[0].ID != after[0].ID || web[1].ID != after[1].ID {
		t.Errorf("web was replaced, though it does not use the password")
	}
}
