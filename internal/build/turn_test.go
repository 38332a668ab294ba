package build

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ikada/ikada/api"
)

// TestOneEnvironmentHoldsUpNoOther has staging build more than there are places for: it waits for itself alone.
func TestOneEnvironmentHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging, production := api.EnvRef{App: "shop", Env: "staging"}, api.EnvRef{App: "shop", Env: "production"}
		turns := newTurns(2)
		begun := map[string]bool{}
		errs := map[string]error{}
		waits := map[string]string{}
		build := func(ctx context.Context, name string, env api.EnvRef) {
			go func() {
				err := turns.take(ctx, env, func(running, ahead int) { waits[name] = fmt.Sprintf("%d run, %d ahead", running, ahead) })
				begun[name], errs[name] = err == nil, err
			}()
			synctest.Wait()
		}
		expect := func(names ...string) {
			t.Helper()
			synctest.Wait()
			want := map[string]bool{}
			for _, n := range names {
				want[n] = true
			}
			for n := range want {
				if !begun[n] {
					t.Errorf("%s waits: %s", n, waits[n])
				}
			}
			for n, yes := range begun {
				if yes && !want[n] {
					t.Errorf("%s builds", n)
				}
			}
		}
		ctx, leave := context.WithCancelCause(t.Context())
		for i := range 4 {
			build(t.Context(), fmt.Sprint("staging ", i), staging)
		}
		build(ctx, "staging 4", staging)
		expect("staging 0", "staging 1")
		if waits["staging 3"] != "2 run, 1 ahead" {
			t.Errorf("the fourth was told: %s", waits["staging 3"])
		}
		build(t.Context(), "production", production)
		build(t.Context(), "production too", production)
		expect("staging 0", "staging 1", "production") // a place besides, one only
		build(t.Context(), "other", api.EnvRef{App: "blog", Env: "production"})
		build(t.Context(), "one too many", api.EnvRef{App: "mail", Env: "production"})
		expect("staging 0", "staging 1", "production", "other")
		gone := errors.New("gone")
		leave(gone)
		synctest.Wait()
		if !errors.Is(errs["staging 4"], gone) {
			t.Errorf("who left was told %v", errs["staging 4"])
		}
		turns.release(staging)
		expect("staging 0", "staging 1", "production", "other", "one too many")
		turns.release(staging) // four of four still ran: one more than there are places stays
		turns.release(production)
		turns.release(api.EnvRef{App: "blog", Env: "production"})
		turns.release(api.EnvRef{App: "mail", Env: "production"})
		synctest.Wait()
		for range 3 { // what waited, in the order of its coming: two of staging, one of production
			for env, n := range turns.running {
				if n > 0 {
					turns.release(env)
					break
				}
			}
			synctest.Wait()
		}
		if !begun["staging 2"] || !begun["staging 3"] || !begun["production too"] || turns.total != 0 || len(turns.waiting) != 0 || len(turns.running) != 0 {
			t.Errorf("begun %v, %d run, %d wait", begun, turns.total, len(turns.waiting))
		}
	})
}
