package compose

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

func (c *converter) configs() map[string]api.ConfigSpec {
	out := map[string]api.ConfigSpec{}
	for _, key := range slices.Sorted(maps.Keys(c.project.Configs)) {
		if content, ok := c.content("configs."+key, types.FileObjectConfig(c.project.Configs[key]), api.MaxConfigBytes); ok {
			out[key] = api.ConfigSpec{Content: content}
		}
	}
	return out
}

func (c *converter) secrets() map[string]api.SecretSpec {
	out := map[string]api.SecretSpec{}
	for _, key := range slices.Sorted(maps.Keys(c.project.Secrets)) {
		o := c.project.Secrets[key]
		named := o.Name != "" && o.Name != key && o.Name != c.project.Name+"_"+key // what normalisation adds is not the user's
		switch {
		case bool(o.External):
			secret := api.SecretSpec{External: true}
			if named {
				secret.Name = o.Name
			}
			out[key] = secret
			continue
		case named:
			c.warn("secrets.%s.name has no effect: secrets belong to their environment", key)
		}
		if !c.mounted(key) {
			continue // only builds use it: it stays with the client
		}
		if content, ok := c.content("secrets."+key, types.FileObjectConfig(c.project.Secrets[key]), api.MaxSecretBytes); ok {
			out[key] = api.SecretSpec{Value: content}
		}
	}
	return out
}

// mounted tells whether a service mounts the secret, or has it as a variable.
func (c *converter) mounted(secret string) bool {
	for _, s := range c.project.Services {
		for _, ref := range s.Secrets {
			if ref.Source == secret {
				return true
			}
		}
		for _, source := range secretVariables(&s) {
			if source == secret {
				return true
			}
		}
	}
	return false
}

// secretVariables gives what x-ikada.secrets of a service says, variable → secret, as far as it can be read.
func secretVariables(s *types.ServiceConfig) map[string]string {
	extension, _ := s.Extensions[extensionKey].(map[string]any)
	var errs []error // told when the service is converted
	if raw, ok := extension["secrets"]; ok {
		return value{"", raw, &errs}.secrets()
	}
	return nil
}

// impliedSecrets adds the environment's secrets that services have as variables, or checks send, and that the file does not
// declare.
func (c *converter) impliedSecrets(spec *api.AppSpec) {
	for _, svc := range spec.Services {
		for _, source := range svc.SecretEnv {
			if _, declared := spec.Secrets[source]; !declared {
				spec.Secrets[source] = api.SecretSpec{External: true}
			}
		}
	}
	for _, check := range spec.AllChecks() {
		if _, declared := spec.Secrets[check.Token()]; !declared && check.Token() != "" {
			spec.Secrets[check.Token()] = api.SecretSpec{External: true}
		}
	}
}

// content gives a config's or secret's content from where the file says. Errors never repeat the content.
func (c *converter) content(field string, o types.FileObjectConfig, limit int64) ([]byte, bool) {
	switch {
	case bool(o.External):
		c.refuse(field+".external", "true", "not supported yet; expected file or environment")
		return nil, false
	case o.File != "":
		return c.readFile(field+".file", o.File, limit)
	case o.Environment != "":
		value, set := c.project.Environment[o.Environment]
		if !set && o.Content != "" {
			return []byte(o.Content), true // from the .env file of an included project
		}
		if !set {
			c.bad(field+".environment", o.Environment, "a variable that is set")
			return nil, false
		}
		return []byte(value), true
	}
	return []byte(o.Content), true
}

func (c *converter) readFile(field, name string, limit int64) ([]byte, bool) {
	f, err := os.Open(name)
	if err != nil {
		c.bad(field, plain(name, c.options.Dir), "a file that can be read")
		return nil, false
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		c.bad(field, plain(name, c.options.Dir), "a file that can be read")
		return nil, false
	}
	if int64(len(content)) > limit {
		c.bad(field, plain(name, c.options.Dir), fmt.Sprintf("at most %d bytes", limit))
		return nil, false
	}
	return content, true
}

func configRefs(refs []types.ServiceConfigObjConfig) []types.FileReferenceConfig {
	out := make([]types.FileReferenceConfig, 0, len(refs))
	for _, r := range refs {
		out = append(out, types.FileReferenceConfig(r))
	}
	return out
}

func secretRefs(refs []types.ServiceSecretConfig) []types.FileReferenceConfig {
	out := make([]types.FileReferenceConfig, 0, len(refs))
	for _, r := range refs {
		out = append(out, types.FileReferenceConfig(r))
	}
	return out
}

// fileJoins mounts files at their target, relative ones and those without below dir.
func (c *converter) fileJoins(field, dir string, refs []types.FileReferenceConfig) []api.FileJoin {
	var out []api.FileJoin
	for i, r := range refs {
		at := fmt.Sprintf("%s[%d]", field, i)
		j := api.FileJoin{Source: r.Source, Target: r.Target, UID: c.id(at+".uid", r.UID), GID: c.id(at+".gid", r.GID)}
		if j.Target == "" {
			j.Target = r.Source
		}
		if !strings.HasPrefix(j.Target, "/") {
			j.Target = path.Join(dir, j.Target)
		}
		if r.Mode != nil {
			j.Mode = uint32(*r.Mode)
		}
		out = append(out, j)
	}
	return out
}

func (c *converter) id(field, text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		c.bad(field, text, "a number")
	}
	return int(n)
}
