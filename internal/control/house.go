package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// How much history is kept.
const (
	houseInterval   = time.Minute
	keepDeployments = 100  // per environment
	keepEvents      = 5000 // in all
	keepEventsFor   = 14 * 24 * time.Hour
	secretGrace     = time.Hour // a sealed secret may be stored before the release that names it
)

// keepHouse removes from the store what no kept release, task or reader needs any more, by reachability, on a timer.
func (l *Loop) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	for {
		if err := l.tidy(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.Error("tidy store", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *Loop) tidy(ctx context.Context) error {
	var envs []api.EnvRef
	var orphans []string
	l.cfg.Mirror.Read(func(s *store.State) {
		for env := range s.Environments {
			envs = append(envs, env)
		}
		for id := range s.Statuses {
			if s.Tasks[id] == nil {
				orphans = append(orphans, id)
			}
		}
	})
	for _, env := range envs {
		if err := l.tidyEnvironment(ctx, env); err != nil {
			return err
		}
	}
	if len(orphans) > 0 {
		if _, err := l.fence.Update(ctx, func(tx store.Tx) error { return dropOrphans(tx, orphans) }); err != nil {
			return err
		}
	}
	return l.tidyEvents(ctx)
}

func dropOrphans(tx store.Tx, ids []string) error {
	for _, id := range ids {
		if _, ok, err := tx.Get(store.TaskKey(id)); err != nil {
			return err
		} else if !ok {
			tx.Delete(store.StatusKey(id))
		}
	}
	return nil
}

// tidyEnvironment drops releases, deployments and secrets of one environment.
func (l *Loop) tidyEnvironment(ctx context.Context, env api.EnvRef) error {
	var stale bool
	l.cfg.Mirror.Read(func(s *store.State) {
		stale = len(s.ReleasesOf(env)) > api.KeepReleases || len(s.DeploymentsOf(env)) > keepDeployments
	})
	_, err := l.fence.Update(ctx, func(tx store.Tx) error {
		releases, err := store.List[api.Release](tx, store.ReleasesOf(env))
		if err != nil {
			return err
		}
		if stale {
			if releases, err = dropReleases(tx, env, releases); err != nil {
				return err
			}
		}
		return dropSecrets(tx, env, releases)
	})
	return err
}

// dropReleases deletes what is older than the newest releases that were good, and not in use; it gives what is left.
func dropReleases(tx store.Tx, env api.EnvRef, releases []*api.Release) ([]*api.Release, error) {
	deployments, err := store.List[api.Deployment](tx, store.DeploymentsOf(env))
	if err != nil {
		return nil, err
	}
	e, err := store.Find[api.Environment](tx, store.EnvironmentKey(env))
	if err != nil || e == nil {
		return releases, err
	}
	tasks, err := store.List[api.Task](tx, store.Tasks)
	if err != nil {
		return nil, err
	}
	used := map[uint64]bool{e.Release: true, e.Previous: true}
	good := map[uint64]bool{e.Release: true}
	for _, d := range deployments {
		if !d.State.Final() || d.Trial == api.TrialOn {
			used[d.To], used[d.From] = true, true
		}
		if d.State == api.DeploySucceeded {
			good[d.To] = true
		}
	}
	for _, t := range tasks {
		if t.EnvRef == env && t.Job == nil {
			used[t.Release] = true
		}
	}
	if err := keepJobReleases(tx, env, used); err != nil {
		return nil, err
	}
	var left []*api.Release
	n := 0
	for i, r := range slices.Backward(releases) {
		keep := used[r.Number] || i == len(releases)-1
		if good[r.Number] && n < api.KeepReleases {
			n++
			keep = true
		}
		if keep {
			left = append(left, r)
			continue
		}
		tx.Delete(store.ReleaseKey(env, r.Number))
	}
	for _, d := range deployments[:max(len(deployments)-keepDeployments, 0)] {
		if d.State.Final() {
			tx.Delete(store.DeploymentKey(env, d.Number))
		}
	}
	return left, nil
}

// dropSecrets deletes the sealed values that neither a kept release nor the environment's settings name.
func dropSecrets(tx store.Tx, env api.EnvRef, releases []*api.Release) error {
	secrets, err := store.List[api.SealedSecret](tx, store.SecretsOf(env))
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, r := range releases {
		for _, s := range r.Spec.Secrets {
			named[s.Version] = true
		}
	}
	settings, err := store.Find[api.Settings](tx, store.SettingsKey(env))
	if err != nil {
		return err
	}
	if settings != nil {
		for _, s := range settings.Secrets {
			named[s.Version] = true
		}
	}
	for _, s := range secrets {
		if !named[s.Version] && time.Since(s.CreatedAt) > secretGrace {
			tx.Delete(store.SecretKey(env, s.Version))
		}
	}
	return nil
}

// tidyEvents drops the oldest events; their keys sort by time.
func (l *Loop) tidyEvents(ctx context.Context) error {
	_, err := l.fence.Update(ctx, func(tx store.Tx) error {
		entries, err := tx.List(store.Events)
		if err != nil {
			return err
		}
		oldest := store.EventKey(time.Now().Add(-keepEventsFor))
		for i, e := range entries {
			if len(entries)-i <= keepEvents && strings.Compare(e.Key, oldest) >= 0 {
				break
			}
			tx.Delete(e.Key)
		}
		return nil
	})
	return err
}
