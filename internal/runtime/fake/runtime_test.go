package fake

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

const image = "ikada.local/test@sha256:1111111111111111111111111111111111111111111111111111111111111111"

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(*testing.T) runtimetest.Subject {
		return runtimetest.Subject{
			Runtime: New(nil, image),
			Image:   image,
			Exit:    func(code int) []string { return []string{"exit", strconv.Itoa(code)} },
			Sleep:   func() []string { return []string{"print", "up"} },
			Print: func(stdout, stderr string, then []string) []string {
				args := []string{"print", stdout}
				if stderr != "" {
					args = append(args, "printerr", stderr)
				}
				return append(args, then...)
			},
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(nil, image)
		broken := errors.New("broken")
		r.SetFaults(Faults{
			Pull:   func(string) error { return api.Errorf(api.Exhausted, "disk full") },
			Create: func(agent.Container) error { return broken },
		})
		if err := r.Pull(t.Context(), image, nil); !api.IsKind(err, api.Exhausted) {
			t.Errorf("pull gives %v", err)
		}
		if err := r.Create(t.Context(), agent.Container{ID: "a", Image: image}); !errors.Is(err, broken) {
			t.Errorf("create gives %v", err)
		}
		r.SetFaults(Faults{})
		if err := r.Pull(t.Context(), image, nil); err != nil {
			t.Fatal(err)
		}
		exits := r.Exits(t.Context())
		for id, end := range map[string]func(string) bool{"oom": r.OOM, "lost": r.Lose} {
			if err := r.Create(t.Context(), agent.Container{ID: id, Image: image}); err != nil {
				t.Fatal(err)
			}
			if !end(id) || end(id) {
				t.Errorf("%s does not end exactly once", id)
			}
			e := <-exits
			if e.ID != id || e.OOM != (id == "oom") || (e.Code == nil) != (id == "lost") {
				t.Errorf("exit of %s is %+v", id, e)
			}
		}
		began := time.Now()
		if err := r.Create(t.Context(), agent.Container{ID: "later", Image: image, Spec: api.ServiceSpec{Command: []string{"wait", "1h", "exit", "8"}}}); err != nil {
			t.Fatal(err)
		}
		if e := <-exits; e.Code == nil || *e.Code != 8 || time.Since(began) != time.Hour {
			t.Errorf("exit is %+v after %v", e, time.Since(began))
		}
	})
}
