package build

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/build/session"
)

// plan is a build request in BuildKit's words.
type plan struct {
	repository   string            // of the result
	attrs        map[string]string // of the Dockerfile frontend
	export       map[string]string // attributes of the image exporter
	entitlements []string
	warnings     []string
}

// planOf checks a request and translates it. Errors are of kind Invalid and name the field.
func planOf(req api.BuildRequest, cfg Config) (*plan, error) {
	if req.App == "" || req.Env == "" || req.Service == "" {
		return nil, api.FieldError("service", req.EnvRef.String()+"/"+req.Service, "an app, an environment and a service")
	}
	if req.Session == "" {
		return nil, api.FieldError("session", "", "the ID of an open session")
	}
	p := &plan{repository: Repository(req.App, req.Service), attrs: map[string]string{}}
	steps := []func(api.BuildRequest, Config) error{
		p.source, p.arguments, p.contexts, p.platform, p.network, p.hosts, p.names,
	}
	for _, step := range steps {
		if err := step(req, cfg); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// source says where the Dockerfile and the context are. A Dockerfile is known by its base name: the session serves
// the directory that it is in.
func (p *plan) source(req api.BuildRequest, _ Config) error {
	s := req.Spec
	p.attrs["filename"] = session.DefaultDockerfile
	if s.Dockerfile != "" && s.DockerfileInline == "" {
		p.attrs["filename"] = path.Base(s.Dockerfile)
	}
	if session.IsRemote(s.Context) {
		p.attrs["context"] = s.Context
		if s.Dockerfile != "" && s.DockerfileInline == "" {
			p.attrs["filename"] = s.Dockerfile
		}
		if s.DockerfileInline != "" {
			p.attrs["dockerfilekey"] = "dockerfile" // the session's, not the remote context's
		}
	}
	if s.Target != "" {
		p.attrs["target"] = s.Target
	}
	return nil
}

var argName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func (p *plan) arguments(req api.BuildRequest, _ Config) error {
	s := req.Spec
	for name, value := range s.Args {
		if !argName.MatchString(name) {
			return api.FieldError("build.args", name, "a name of letters, digits and _")
		}
		p.attrs["build-arg:"+name] = value
	}
	// Cache mounts are an app's own: what one app writes there would otherwise be run by another's build.
	p.attrs["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = req.App
	for name, value := range s.Labels {
		if name == "" {
			return api.FieldError("build.labels", "="+value, "a name before the =")
		}
		p.attrs["label:"+name] = value
	}
	p.attrs["image-resolve-mode"] = "local"
	if s.Pull {
		p.attrs["image-resolve-mode"] = "pull"
	}
	if s.NoCache {
		p.attrs["no-cache"] = ""
	}
	if s.ShmSize < 0 {
		return api.FieldError("build.shm_size", strconv.FormatInt(s.ShmSize, 10), "a size of zero or more bytes")
	}
	if s.ShmSize > 0 {
		p.attrs["shm-size"] = strconv.FormatInt(s.ShmSize, 10)
	}
	return nil
}

func (p *plan) contexts(req api.BuildRequest, _ Config) error {
	for name, value := range req.Spec.Contexts {
		field := "build.additional_contexts." + name
		switch scheme, rest, _ := strings.Cut(value, ":"); {
		case value == "":
			return api.FieldError(field, value, "a directory, a URL, docker-image://IMAGE or service:NAME")
		case scheme == "service":
			if rest == "" {
				return api.FieldError(field, value, "service:NAME")
			}
			value = "docker-image://" + Latest(req.EnvRef, rest)
		case scheme == "oci-layout":
			return api.FieldError(field, value, "a directory, a URL, docker-image://IMAGE or service:NAME; OCI layouts are not supported")
		case scheme == "docker-image" || session.IsRemote(value):
		default:
			value = "local:" + session.ContextDir(name)
		}
		p.attrs["context:"+name] = value
	}
	return nil
}

func (p *plan) platform(req api.BuildRequest, _ Config) error {
	if req.Spec.Platform == "" {
		return nil
	}
	here := platforms.DefaultSpec()
	want, err := platforms.Parse(req.Spec.Platform)
	if err != nil || !platforms.Only(here).Match(want) {
		return api.FieldError("build.platform", req.Spec.Platform, platforms.Format(here)+", which this node is")
	}
	return nil
}

func (p *plan) network(req api.BuildRequest, cfg Config) error {
	switch req.Spec.Network {
	case "", "default":
	case "none":
		p.attrs["force-network-mode"] = "none"
	case "host":
		if !cfg.AllowHostNetwork {
			return api.Errorf(api.Invalid, "build.network: this node does not let builds use the host's network")
		}
		p.attrs["force-network-mode"] = "host"
		p.entitlements = append(p.entitlements, string(entitlements.EntitlementNetworkHost))
	default:
		return api.FieldError("build.network", req.Spec.Network, "default, none or host")
	}
	return nil
}

func (p *plan) hosts(req api.BuildRequest, cfg Config) error {
	var entries []string
	for name, addr := range req.Spec.ExtraHosts {
		field := "build.extra_hosts." + name
		if name == "" || strings.ContainsAny(name, ",=\" \t\n") {
			return api.FieldError(field, addr, "a host name")
		}
		if addr == "host-gateway" {
			if cfg.HostGateway == "" {
				return api.FieldError(field, addr, "an IP address; this node has no gateway for builds")
			}
			addr = cfg.HostGateway
		}
		if _, err := netip.ParseAddr(strings.Trim(addr, "[]")); err != nil {
			return api.FieldError(field, addr, "an IP address or host-gateway")
		}
		entries = append(entries, name+"="+strings.Trim(addr, "[]"))
	}
	if len(entries) > 0 {
		slices.Sort(entries)
		p.attrs["add-hosts"] = strings.Join(entries, ",")
	}
	return nil
}

// names says what the result is called. Of the tags that a user asks for, those into this cluster's registry are
// given; another registry's name would let one app's build stand in for everyone's base image.
func (p *plan) names(req api.BuildRequest, cfg Config) error {
	names := []string{Latest(req.EnvRef, req.Service)}
	for _, t := range req.Spec.Tags {
		name, ok := ownName(t, cfg.OwnHost)
		if !ok {
			p.warnings = append(p.warnings, "tag "+t+" is not given: it is not in this cluster's registry")
			continue
		}
		names = append(names, name)
	}
	p.export = map[string]string{
		"name":                 strings.Join(names, ","),
		"dangling-name-prefix": p.repository, // adds the name "<repository>@<digest>"
		"unpack":               "true",
		"oci-mediatypes":       "true",
	}
	return nil
}
