package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// How often what may pass by itself is tried, and how long is waited in between at first.
const (
	pullTries   = 4
	startTries  = 5
	retryPause  = 500 * time.Millisecond
	maxVariable = 128<<10 - 512   // bytes of a variable's value: what Linux takes of one string, execve(2), but for its name
	createTime  = 2 * time.Minute // for one try to make and start a container; filling a new volume is in it

	unwantedTime = 5 * time.Second // that one goes on which is wanted no more
)

// errUnwanted tells that the control plane changed its mind before the container was there.
var errUnwanted = errors.New("no longer wanted")

// start brings the task from assigned to running. It gives false when the task ended on the way, or the agent stops.
func (t *task) start(life context.Context, release *api.Release, spec api.ServiceSpec) bool {
	ctx, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() { // everything here ends early when the task is no longer wanted
		defer close(watched)
		for {
			desired, _, changed := t.wants()
			if !desired.Runs() {
				cancel(errUnwanted)
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	cause, err := t.steps(ctx, release, spec)
	unwanted := errors.Is(context.Cause(ctx), errUnwanted)
	cancel(nil)
	<-watched
	switch {
	case err == nil:
		return true
	case life.Err() != nil:
		return false
	case unwanted:
		t.set(api.TaskStopped, func(st *api.TaskStatus) { st.FinishedAt = now() })
	default:
		t.fail(cause, "%v", err)
	}
	return false
}

// steps are the steps of a start; the cause goes with the error.
func (t *task) steps(ctx context.Context, release *api.Release, spec api.ServiceSpec) (api.Cause, error) {
	// The pause is what it was when the task was made, also where the clock was set back since.
	if wait := min(time.Until(t.task.NotBefore), t.task.NotBefore.Sub(t.task.CreatedAt)); wait > 0 {
		t.note("%s", t.task.Reason)
		pause(ctx, wait)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	t.set(api.TaskPulling, nil)
	if err := t.retry(ctx, pullTries, func() error { return t.a.cfg.Runtime.Pull(ctx, spec.Image, t.pulled) }); err != nil {
		return api.CausePull, fmt.Errorf("pull %s: %w", spec.Image, err)
	}
	t.set(api.TaskStarting, nil)
	mounts, err := t.mounts(ctx, release, spec)
	if err != nil {
		return api.CauseVolume, err
	}
	envFile, err := t.secretEnv(ctx, release, spec)
	if err != nil {
		return api.CauseVolume, err
	}
	att, err := t.a.cfg.Network.Attach(ctx, t.endpoint(release, spec))
	if err != nil {
		return api.CauseNetwork, fmt.Errorf("attach network: %w", err)
	}
	mounts = append(mounts,
		BindMount{Source: att.ResolvConf, Target: "/etc/resolv.conf"},
		BindMount{Source: att.Hosts, Target: "/etc/hosts"},
		BindMount{Source: att.HostName, Target: "/etc/hostname"})
	c := Container{ID: t.task.ID, Image: spec.Image, Spec: spec, Host: t.hostname(spec), Netns: att.Netns, Mounts: mounts, EnvFile: envFile,
		Hold:    t.task.Job != nil && t.task.Job.Terminal,
		LogSize: spec.Logging.MaxSize, LogKeep: spec.Logging.MaxFiles,
		Labels: t.labels(spec)}
	t.set(api.TaskStarting, func(st *api.TaskStatus) { st.Address = att.Address })
	tries := startTries
	if t.task.Job != nil {
		tries = 1 // one that failed may have run for a moment
		if err := t.commit(ctx); err != nil {
			return "", err
		}
	}
	create := func() error {
		t.began = time.Now()
		return t.create(ctx, c)
	}
	if err := t.retry(ctx, tries, create); err != nil {
		return api.CauseStart, fmt.Errorf("start container: %w", err)
	}
	t.started(time.Time{})
	return "", nil
}

// create makes and starts the container. A try that takes too long is given up: what hangs may not hang again. Should the
// task be wanted no more meanwhile, its process may run already: it is let come up, and then stopped as any other.
func (t *task) create(ctx context.Context, c Container) error {
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), errUnwanted) {
			pause(try, unwantedTime)
		}
		cancel()
	})()
	err := t.a.cfg.Runtime.Create(try, c)
	if err != nil && try.Err() != nil && ctx.Err() == nil {
		return api.Errorf(api.Unavailable, "the runtime did not start it within %s: %w", createTime, err)
	}
	return err
}

// retry tries again what failed because a part did not answer, which may pass.
func (t *task) retry(ctx context.Context, tries int, f func() error) error {
	wait := retryPause
	for {
		err := f()
		tries--
		if err == nil || tries <= 0 || ctx.Err() != nil || !api.IsKind(err, api.Unavailable) {
			return err
		}
		t.note("%v; trying again", err)
		pause(ctx, wait)
		wait *= 2
	}
}

func (t *task) pulled(done, total int64) {
	if total > 0 {
		t.note("pulled %d of %d MiB", done>>20, total>>20)
	}
}

func (t *task) hostname(spec api.ServiceSpec) string {
	if t.task.Job != nil {
		return t.jobHost()
	}
	if spec.Hostname != "" {
		return spec.Hostname
	}
	return fmt.Sprintf("%s-%d", t.task.Service, t.task.Slot)
}

// endpoint describes the task's place in the network.
func (t *task) endpoint(release *api.Release, spec api.ServiceSpec) Endpoint {
	e := Endpoint{ID: t.task.ID, Hostname: t.hostname(spec), Hosts: spec.ExtraHosts, DNS: spec.DNS, Search: spec.DNSSearch,
		Sysctls: spec.Sysctls, Internal: true}
	if t.task.Job != nil && len(t.task.Job.Hosts) > 0 {
		e.Hosts = maps.Clone(e.Hosts)
		if e.Hosts == nil {
			e.Hosts = map[string]string{}
		}
		maps.Copy(e.Hosts, t.task.Job.Hosts)
	}
	for _, n := range spec.Networks {
		names := append([]string{t.task.Service, t.task.Name()}, n.Aliases...)
		if t.task.Job != nil {
			names = nil // nobody calls a job
		}
		e.Networks = append(e.Networks, Member{Network: t.task.EnvRef.String() + "/" + n.Network, Names: names})
		if !release.Spec.Networks[n.Network].Internal {
			e.Internal = false
		}
	}
	return e
}

// mounts prepares what the task mounts besides tmpfs: volumes, host paths, configs, secrets.
func (t *task) mounts(ctx context.Context, release *api.Release, spec api.ServiceSpec) ([]BindMount, error) {
	var out []BindMount
	for _, m := range spec.Mounts {
		b := BindMount{Target: m.Target, ReadOnly: m.ReadOnly}
		var err error
		switch m.Type {
		case api.MountVolume:
			b.Source, err = t.volume(release, m)
			b.FillFrom = !m.NoCopy
		case api.MountBind:
			b.Source, err = bindSource(m)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		out = append(out, b)
	}
	for i, f := range spec.Configs {
		c, ok := release.Spec.Configs[f.Source]
		if !ok {
			return nil, fmt.Errorf("config %s is not in release %d", f.Source, release.Number)
		}
		path, err := t.a.files.config(t.task.ID, i, c.Content, f)
		if err != nil {
			return nil, fmt.Errorf("write config %s: %w", f.Source, err)
		}
		out = append(out, BindMount{Source: path, Target: f.Target, ReadOnly: true})
	}
	for i, f := range spec.Secrets {
		value, err := t.secret(ctx, release, f.Source)
		if err != nil {
			return nil, err
		}
		path, err := t.a.files.secret(t.task.ID, i, value, f)
		if err != nil {
			return nil, fmt.Errorf("write secret %s: %w", f.Source, err)
		}
		out = append(out, BindMount{Source: path, Target: f.Target, ReadOnly: true})
	}
	return out, nil
}

// secret gives the value of a release's secret.
func (t *task) secret(ctx context.Context, release *api.Release, source string) (value []byte, err error) {
	err = t.retry(ctx, startTries, func() (err error) {
		value, err = t.a.secret(ctx, t.task.EnvRef, release.Spec.Secrets[source].Version)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", source, err)
	}
	return value, nil
}

// secretEnv writes the variables that are secrets to a file in memory, and gives its path; "" when there is none.
func (t *task) secretEnv(ctx context.Context, release *api.Release, spec api.ServiceSpec) (string, error) {
	if len(spec.SecretEnv) == 0 {
		return "", nil
	}
	var content []byte
	for _, name := range slices.Sorted(maps.Keys(spec.SecretEnv)) {
		source := spec.SecretEnv[name]
		value, err := t.secret(ctx, release, source)
		if err != nil {
			return "", err
		}
		if bytes.IndexByte(value, 0) >= 0 || len(value) > maxVariable {
			return "", fmt.Errorf("secret %s cannot be the variable %s: expected at most %d bytes, none of them zero; mount it as a file", source, name, maxVariable)
		}
		content = append(content, name+"="...)
		content = append(append(content, value...), 0)
	}
	path, err := t.a.files.secretEnv(t.task.ID, content)
	if err != nil {
		return "", fmt.Errorf("write secret variables: %w", err)
	}
	return path, nil
}

// volume gives the host path of a volume that the task mounts; a named one is in use from now on.
func (t *task) volume(release *api.Release, m api.Mount) (string, error) {
	if m.Source == "" {
		return t.a.files.anonymous(t.task.ID, m)
	}
	spec := release.Spec.Volumes[m.Source]
	name := spec.HostName(t.task.EnvRef, m.Source)
	t.a.files.use(t.task.ID, name)
	if !slices.Contains(t.volumes, name) {
		t.volumes = append(t.volumes, name)
	}
	return t.a.files.named(name, spec.External, m)
}

func (a *Agent) secret(ctx context.Context, env api.EnvRef, version string) ([]byte, error) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	return s.Secret(ctx, env, version)
}
