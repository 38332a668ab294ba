package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/build"
	"github.com/ikada/ikada/internal/control"
	"github.com/ikada/ikada/internal/house"
	"github.com/ikada/ikada/internal/network"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/verdict"
	"github.com/ikada/ikada/internal/proxy/remote"
	"github.com/ikada/ikada/internal/registry"
	"github.com/ikada/ikada/internal/runtime/containerd"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
)

// This file fits the parts to the small interfaces by which they know each other.

// buildNetwork gives builds their namespaces.
type buildNetwork struct{ *network.Network }

func (b buildNetwork) Attach(ctx context.Context, id string) (netns, resolvConf, hosts string, err error) {
	a, err := b.AttachBuild(ctx, id)
	return a.Netns, a.ResolvConf, a.Hosts, err
}

// traffic counts requests for receipts.
type traffic struct{ *remote.Balancer }

func (t traffic) Count(env api.EnvRef, name string) (control.Count, error) {
	c, err := t.Window(name, env)
	out := control.Count{Since: c.Opened, Tally: control.Tally{Requests: c.Requests, Failed: c.Failed, Longest: c.Longest, Held: c.Held, Retried: c.Retries}}
	for _, r := range c.Releases {
		if r.Requests > 0 {
			out.Releases = append(out.Releases, control.ReleaseTally{Release: r.Release,
				Tally: control.Tally{Requests: r.Requests, Failed: r.Failed, Longest: r.Longest, Held: r.Held, Retried: r.Retries}})
		}
	}
	return out, err
}

func (t traffic) Close(name string) { t.CloseWindow(name) }

func (t traffic) Seconds(env api.EnvRef, since time.Time) (map[string]deploy.Traffic, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	points, err := t.Balancer.Seconds(ctx, env, since)
	if err != nil {
		return nil, err
	}
	out := map[string]deploy.Traffic{}
	for i := range points {
		p := &points[i]
		s := verdict.Second{Time: p.Time.Unix(), Requests: p.Requests, Failed: p.Failed, Lost: p.Lost}
		for upTo, n := range p.Latency.All() {
			s.Latency = append(s.Latency, verdict.Bucket{UpTo: api.Duration(upTo), N: n})
		}
		if out[p.Source.Service] == nil {
			out[p.Source.Service] = deploy.Traffic{}
		}
		out[p.Source.Service][p.Source.Release] = append(out[p.Source.Service][p.Source.Release], s)
	}
	return out, nil
}

// problems gives what ails this node.
func (n *node) problems() []string {
	out := slices.Concat(n.network.Problems(), n.keeper.Problems())
	for _, p := range []string{n.containerd.Problem(), n.proxy.Problem()} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// memory reads /proc/meminfo.
func memory() (available, total uint64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	m, err := fs.Meminfo()
	if err != nil {
		return 0, 0, err
	}
	if m.MemAvailableBytes == nil || m.MemTotalBytes == nil {
		return 0, 0, errors.New("the kernel does not tell how much memory is available")
	}
	return *m.MemAvailableBytes, *m.MemTotalBytes, nil
}

// storedImages is the image store as the keeper sees it.
type storedImages struct{ *containerd.Images }

func (s storedImages) List(ctx context.Context) ([]house.Image, error) {
	list, err := s.Images.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]house.Image, 0, len(list))
	for _, i := range list {
		foreign := !strings.Contains(i.Name, "@") // pulls name by digest
		if strings.HasPrefix(i.Name, api.RegistryHost+"/") {
			foreign = !build.Built(i.Labels)
		}
		out = append(out, house.Image{Name: i.Name, Foreign: foreign, UpdatedAt: i.UpdatedAt})
	}
	return out, nil
}

// buildCache is the build cache as the keeper sees it.
type buildCache struct{ *build.Builder }

func (b buildCache) DiskUsage(ctx context.Context) (int64, error) {
	u, err := b.Builder.DiskUsage(ctx)
	return u.Reclaimable, err
}

// ownImages resolves images, those of this node's registry in the local store, however the user wrote its host.
type ownImages struct{ n *node }

func (o ownImages) Resolve(ctx context.Context, ref, policy string) (string, error) {
	if host, _, ok := strings.Cut(ref, "/"); ok && o.n.ownHost(host) {
		if local, ok := registry.Reference(host, ref); ok {
			ref = local
		}
	}
	return o.n.runtime.Images().Resolve(ctx, ref, policy)
}

func (o ownImages) Config(ctx context.Context, pinned string) (api.ImageConfig, error) {
	return o.n.runtime.Images().Config(ctx, pinned)
}

// ownHost tells whether a registry host is this node's own registry.
func (n *node) ownHost(host string) bool {
	if host == api.RegistryHost || host == n.cfg.Listen {
		return true
	}
	_, own, err := net.SplitHostPort(n.cfg.Listen)
	if err != nil {
		return false
	}
	name, port, err := net.SplitHostPort(host)
	return err == nil && port == own && ownName(name)
}

// ownName tells whether a name or an address is this machine's, as pushes from others use it.
func ownName(name string) bool {
	if self, err := os.Hostname(); name == "localhost" || err == nil && strings.EqualFold(name, self) {
		return true
	}
	ip := net.ParseIP(name)
	if ip == nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	addresses, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// credentials gives the kept login for a registry host.
func (n *node) credentials(host string) (user, password string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var value []byte
	_, err = n.etcd.View(ctx, func(tx store.Tx) error {
		e, _, err := tx.Get(store.Credentials + host)
		value = e.Value
		return err
	})
	if err != nil || value == nil {
		return "", "", err
	}
	sealed, err := auth.DecodeCredential(value)
	if err != nil {
		return "", "", err
	}
	login, err := n.key.OpenCredential(sealed)
	return login.Username, login.Password, err
}

// neededImages gives the images of every release that is kept, a live task's release always is, and the names of their
// services' last builds.
func (n *node) neededImages() (map[string]bool, bool) {
	select {
	case <-n.mirror.Ready():
	default:
		return nil, false
	}
	needed := map[string]bool{}
	n.mirror.Read(func(s *store.State) {
		for env := range s.Environments {
			for _, r := range s.ReleasesOf(env) {
				for service, spec := range r.Spec.Services {
					needed[spec.Image] = true
					needed[build.Latest(env, service)] = true
				}
			}
		}
	})
	return needed, true
}

// keepPorts lets tasks reach the balancer's ports on the node, and no others.
func (n *node) keepPorts(ctx context.Context) error {
	sub := n.mirror.Subscribe()
	defer sub.Close()
	var last []uint16
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Wake():
		}
		sub.Take()
		ports := n.proxy.Ports()
		slices.Sort(ports)
		if slices.Equal(ports, last) {
			continue
		}
		if err := n.network.SetPorts(ports); err != nil {
			n.cfg.Log.Warn("open ports for tasks", "error", err)
			continue
		}
		last = ports
	}
}

// taskReach reaches the containers of this node's tasks.
type taskReach struct{ n *node }

func (t taskReach) Logs(ctx context.Context, task string, q server.LogQuery) (server.LogReader, error) {
	r, err := t.n.runtime.Logs(ctx, task, agent.LogQuery{Since: q.Since, Tail: q.Tail, Follow: q.Follow})
	if err != nil {
		return nil, err
	}
	return logReader{r}, nil
}

func (t taskReach) Exec(ctx context.Context, task string, x server.Exec) (int, error) {
	a := agent.Exec{Args: x.Request.Command, Held: x.Held, Env: x.Request.Env, Dir: x.Request.Dir, User: x.Request.User, TTY: x.Request.TTY,
		Stdin: x.Stdin, Stdout: x.Stdout, Stderr: x.Stderr, Signals: x.Signals}
	if x.Request.TTY {
		resize := make(chan agent.Winsize)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go forwardSizes(ctx, x.Resize, resize)
		a.Resize = resize
		return t.n.runtime.Exec(ctx, task, a)
	}
	return t.n.runtime.Exec(ctx, task, a)
}

func forwardSizes(ctx context.Context, from <-chan api.Winsize, to chan<- agent.Winsize) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-from:
			if !ok {
				return
			}
			select {
			case to <- agent.Winsize{Rows: s.Rows, Cols: s.Cols}:
			case <-ctx.Done():
				return
			}
		}
	}
}

type logReader struct{ agent.LogReader }

func (r logReader) Next() (api.LogLine, error) {
	rec, err := r.LogReader.Next()
	return api.LogLine{Time: rec.Time, Stream: rec.Stream, Text: rec.Text, Partial: rec.Partial}, err
}
