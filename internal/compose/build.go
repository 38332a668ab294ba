package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// build notes how to build the service's image.
func (c *converter) build(field string, s *types.ServiceConfig) {
	b := s.Build
	if b == nil {
		return
	}
	field += ".build"
	out := api.BuildSpec{
		Context:          b.Context,
		Dockerfile:       b.Dockerfile,
		DockerfileInline: b.DockerfileInline,
		Target:           b.Target,
		Args:             environment(b.Args),
		Labels:           b.Labels,
		Contexts:         c.contexts(field+".additional_contexts", b.AdditionalContexts),
		Secrets:          c.buildSecrets(field+".secrets", b.Secrets),
		NoCache:          b.NoCache,
		Pull:             b.Pull,
		ExtraHosts:       c.extraHosts(field+".extra_hosts", b.ExtraHosts),
		ShmSize:          int64(b.ShmSize),
		Tags:             b.Tags,
	}
	switch b.Network {
	case "", "default", "none", "host":
		out.Network = b.Network
	default:
		c.refuse(field+".network", b.Network, "not supported; expected default, none or host")
	}
	switch len(b.Platforms) {
	case 0:
		out.Platform = s.Platform
	case 1:
		out.Platform = b.Platforms[0]
		if !samePlatform(out.Platform, c.options.Platform) {
			c.refuse(field+".platforms[0]", out.Platform, "the nodes are "+c.options.Platform)
		}
	default:
		c.refuse(field+".platforms", strings.Join(b.Platforms, " "), "an image for one platform is built; expected "+c.options.Platform)
	}
	for _, key := range b.SSH {
		id := key.ID
		if key.Path != "" {
			id += "=" + key.Path
		}
		out.SSH = append(out.SSH, id)
	}
	slices.Sort(out.SSH)
	c.source(field, &out)
	c.builds[s.Name] = out
}

// source checks the context and the Dockerfile before anything is sent.
func (c *converter) source(field string, b *api.BuildSpec) {
	if remote(b.Context) {
		return // the node fetches it
	}
	shown := plain(b.Context, c.options.Dir)
	if info, err := os.Stat(b.Context); err != nil || !info.IsDir() {
		c.bad(field+".context", shown, "a directory")
		return
	}
	if b.DockerfileInline != "" {
		return
	}
	file := b.Dockerfile
	if !filepath.IsAbs(file) {
		file = filepath.Join(b.Context, file)
	}
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		c.bad(field+".dockerfile", plain(b.Dockerfile, c.options.Dir), "a Dockerfile in "+shown)
	}
}

// remote tells whether a context is a repository or an archive that the node fetches.
func remote(context string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@"} {
		if strings.HasPrefix(context, prefix) {
			return true
		}
	}
	return false
}

// contexts passes named contexts that BuildKit fetches itself and directories of this machine.
func (c *converter) contexts(field string, contexts types.Mapping) map[string]string {
	if len(contexts) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(contexts)) {
		value := contexts[name]
		if strings.HasPrefix(value, types.ServicePrefix) {
			c.refuse(field+"."+name, value, "the image of another service is not supported as a context; use a stage of one Dockerfile")
			continue
		}
		out[name] = value
	}
	return out
}

// buildSecrets says where the client reads each secret at build time.
func (c *converter) buildSecrets(field string, refs []types.ServiceSecretConfig) map[string]string {
	if len(refs) == 0 {
		return nil
	}
	out := map[string]string{}
	for i, r := range refs {
		secret := c.project.Secrets[r.Source]
		id := r.Target
		if id == "" {
			id = r.Source
		}
		switch {
		case secret.File != "":
			out[id] = "file:" + secret.File
		case secret.Environment != "":
			out[id] = "env:" + secret.Environment
		default:
			c.bad(fmt.Sprintf("%s[%d]", field, i), r.Source, "a secret with file or environment")
		}
	}
	return out
}
