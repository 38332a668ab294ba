// Package session is the client's end of a build: it serves a build context, a Dockerfile, secrets, SSH agents and
// registry logins to the node that builds, over one connection that the client opens. The node asks for what it
// needs and compares files by their metadata first, so that only changed files travel.
//
// It owns nothing on the node and never imports the builder. A [Session] is safe for concurrent use. Start at [Open].
package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/ikada/ikada/api"
)

// DefaultDockerfile is the name that a Dockerfile has when none is given.
const DefaultDockerfile = "Dockerfile"

// The names under which a session serves directories.
const (
	contextDir    = "context"
	dockerfileDir = "dockerfile"
	namedPrefix   = "named-"
)

// ContextDir gives the name under which a session serves a local additional context.
func ContextDir(name string) string { return namedPrefix + name }

// IsRemote tells whether a build context is fetched by the node, from a URL or a git repository, and not sent by the
// client.
func IsRemote(location string) bool {
	for _, p := range []string{"http://", "https://", "git://", "ssh://", "git@"} {
		if strings.HasPrefix(location, p) {
			return true
		}
	}
	return false
}

// Options says what a session serves. Paths are absolute or relative to the working directory; Dockerfile may be
// relative to Context.
type Options struct {
	Context          string
	Dockerfile       string            // "" is Dockerfile
	DockerfileInline string            // wins over Dockerfile
	Contexts         map[string]string // additional ones; those that are not directories are skipped
	Secrets          map[string]string // id → "file:PATH" or "env:NAME"
	SSH              []string          // "default" or "ID=PATH[,PATH]", as in Compose
	DockerConfig     string            // directory of Docker's config.json; "" is DOCKER_CONFIG, else ~/.docker
	NoCredentials    bool              // serve no registry logins
}

// FromSpec gives the options for building a service whose paths are relative to dir.
func FromSpec(spec api.BuildSpec, dir string) Options {
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) || IsRemote(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	o := Options{
		Context:          spec.Context,
		Dockerfile:       spec.Dockerfile,
		DockerfileInline: spec.DockerfileInline,
		Contexts:         map[string]string{},
		Secrets:          map[string]string{},
		SSH:              spec.SSH,
	}
	if o.Context == "" {
		o.Context = "."
	}
	o.Context = abs(o.Context)
	for name, p := range spec.Contexts {
		if isDir(p) {
			p = abs(p)
		}
		o.Contexts[name] = p
	}
	for id, from := range spec.Secrets {
		if p, ok := strings.CutPrefix(from, "file:"); ok {
			from = "file:" + abs(p)
		}
		o.Secrets[id] = from
	}
	return o
}

// isDir tells whether an additional context is a directory of the client.
func isDir(location string) bool {
	return !IsRemote(location) && !strings.Contains(location, "://") && !strings.HasPrefix(location, "service:")
}

// Session is an open session.
type Session struct {
	session *session.Session
	ended   chan struct{}
}

// Dialer opens the connection of a session: it asks the node to upgrade to proto, with meta as the request's headers.
// See [Upgrade].
type Dialer func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error)

// Open connects a session that serves what the options say. It lasts until Close, the end of ctx, or the loss of its
// connection. Errors of kind Invalid name what is missing.
func Open(ctx context.Context, dial Dialer, o Options) (*Session, error) {
	dirs, err := directories(o)
	if err != nil {
		return nil, err
	}
	served := []session.Attachable{filesync.NewFSSyncProvider(dirs)}
	secret, err := secrets(o.Secrets)
	if err != nil {
		return nil, err
	}
	served = append(served, secret)
	if len(o.SSH) > 0 {
		ssh, err := agents(o.SSH)
		if err != nil {
			return nil, err
		}
		served = append(served, ssh)
	}
	if !o.NoCredentials {
		login, err := newLogins(o.DockerConfig)
		if err != nil {
			return nil, err
		}
		served = append(served, login)
	}
	s, err := session.NewSession(ctx, sharedKey(o.Context))
	if err != nil {
		return nil, fmt.Errorf("open build session: %w", err)
	}
	for _, a := range served {
		s.Allow(a)
	}
	return run(ctx, s, dial)
}

// run serves the session and waits until it is connected.
func run(ctx context.Context, s *session.Session, dial Dialer) (*Session, error) {
	dialed := make(chan error, 1)
	out := &Session{session: s, ended: make(chan struct{})}
	go func() {
		defer close(out.ended)
		// The only error there is is the dialer's, which went the other way already.
		_ = s.Run(ctx, func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			conn, err := dial(ctx, proto, meta)
			dialed <- err
			return conn, err
		})
	}()
	if err := <-dialed; err != nil {
		<-out.ended
		return nil, fmt.Errorf("open build session: %w", err)
	}
	return out, nil
}

// ID is what a build request names the session by.
func (s *Session) ID() string { return s.session.ID() }

// Close ends the session, and with it every build that uses it.
func (s *Session) Close() error {
	err := s.session.Close()
	<-s.ended
	return err
}

// directories gives what the session serves as files.
func directories(o Options) (filesync.StaticDirSource, error) {
	dirs := filesync.StaticDirSource{}
	context := o.Context
	if !IsRemote(context) {
		tree, err := open("build.context", context)
		if err != nil {
			return nil, err
		}
		dirs[contextDir] = tree
	}
	switch {
	case o.DockerfileInline != "":
		inline := staticfs.NewFS()
		inline.Add(DefaultDockerfile, &types.Stat{Mode: 0o644}, []byte(o.DockerfileInline))
		dirs[dockerfileDir] = inline
	case !IsRemote(context):
		file := o.Dockerfile
		if file == "" {
			file = DefaultDockerfile
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(context, file)
		}
		if err := findDockerfile(file); err != nil {
			return nil, err
		}
		tree, err := open("build.dockerfile", filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		dirs[dockerfileDir] = tree
	}
	for name, dir := range o.Contexts {
		if !isDir(dir) {
			continue
		}
		tree, err := open("build.additional_contexts."+name, dir)
		if err != nil {
			return nil, err
		}
		dirs[ContextDir(name)] = tree
	}
	return dirs, nil
}

// findDockerfile says so when there is no Dockerfile. BuildKit takes "dockerfile" for "Dockerfile".
func findDockerfile(file string) error {
	candidates := []string{file}
	if filepath.Base(file) == DefaultDockerfile {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), strings.ToLower(DefaultDockerfile)))
	}
	for _, c := range candidates {
		if info, err := os.Stat(c); err == nil && !info.IsDir() {
			return nil
		}
	}
	return api.FieldError("build.dockerfile", file, "an existing file")
}

// open gives a directory with every file owned by root, so that who builds makes no difference to the image.
func open(field, dir string) (fsutil.FS, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(resolved); err == nil && !info.IsDir() {
			err = fs.ErrInvalid
		}
	}
	if err != nil {
		return nil, api.FieldError(field, dir, "an existing directory")
	}
	tree, err := fsutil.NewFS(resolved)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", field, dir, err)
	}
	tree, err = fsutil.NewFilterFS(tree, &fsutil.FilterOpt{Map: func(_ string, st *types.Stat) fsutil.MapResult {
		st.Uid, st.Gid = 0, 0
		return fsutil.MapResultKeep
	}})
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", field, dir, err)
	}
	return tree, nil
}

func secrets(from map[string]string) (session.Attachable, error) {
	var sources []secretsprovider.Source
	for id, where := range from {
		s := secretsprovider.Source{ID: id}
		switch kind, value, _ := strings.Cut(where, ":"); kind {
		case "file":
			s.FilePath = value
			if info, err := os.Stat(value); err != nil || info.IsDir() {
				return nil, api.FieldError("build.secrets."+id, value, "an existing file")
			}
		case "env":
			s.Env = value
			if _, ok := os.LookupEnv(value); !ok {
				return nil, api.FieldError("build.secrets."+id, value, "an environment variable that is set")
			}
		default:
			return nil, api.FieldError("build.secrets."+id, where, "file:PATH or env:NAME")
		}
		sources = append(sources, s)
	}
	store, err := secretsprovider.NewStore(sources)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "build.secrets: %w", err)
	}
	return secretsprovider.NewSecretProvider(store), nil
}

func agents(ssh []string) (session.Attachable, error) {
	var confs []sshprovider.AgentConfig
	for _, s := range ssh {
		id, paths, ok := strings.Cut(s, "=")
		c := sshprovider.AgentConfig{ID: id}
		if ok {
			c.Paths = strings.Split(paths, ",")
		}
		confs = append(confs, c)
	}
	a, err := sshprovider.NewSSHAgentProvider(confs)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "build.ssh: %w", err)
	}
	return a, nil
}

// sharedKey is the same for the same directory of the same machine: with it the node finds what it was sent before.
func sharedKey(dir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	sum := sha256.Sum256([]byte(host + "\x00" + dir))
	return hex.EncodeToString(sum[:16])
}
