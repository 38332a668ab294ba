package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type diffInput struct {
	EnvPath
	Release   uint64 `query:"release" doc:"Number of the one release; 0 is the committed one"`
	ToEnv     string `query:"toEnv" maxLength:"63" doc:"Environment of the other release; empty is the same one"`
	ToRelease uint64 `query:"toRelease" doc:"Number of the other release; 0 is the committed one"`
}

// diff lists what differs between two releases of an app.
func (s *Server) diff(ctx context.Context, in *diffInput) (out api.Diff, err error) {
	other := api.EnvRef{App: in.App, Env: cmp.Or(in.ToEnv, in.Env)}
	if err := allow(ctx, api.RoleView, other); err != nil {
		return out, err
	}
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		from, err := releaseOf(tx, in.ref(), in.Release)
		if err != nil {
			return err
		}
		to, err := releaseOf(tx, other, in.ToRelease)
		if err != nil {
			return err
		}
		out = api.Diff{From: originOf(from), To: originOf(to), Changes: Compare(from.Spec, to.Spec)}
		return nil
	})
	return out, err
}

// releaseOf gives a release of an environment; 0 is the committed one.
func releaseOf(tx store.Tx, ref api.EnvRef, number uint64) (*api.Release, error) {
	if number == 0 {
		env, err := loadEnvironment(tx, ref)
		if err != nil {
			return nil, err
		}
		if number = env.Release; number == 0 {
			return nil, api.Errorf(api.Conflict, "environment %s has no committed release", ref)
		}
	}
	return store.Get[api.Release](tx, store.ReleaseKey(ref, number))
}

func originOf(r *api.Release) api.Origin { return api.Origin{Env: r.Env, Release: r.Number} }

// Compare lists the fields in which two specs of an app differ, by name. Between environments the versions of secrets
// are left out, since they differ for equal values too, and so are the marks of restarts.
func Compare(a, b api.AppSpec) []api.Change {
	apart := a.Env != b.Env
	was, is := flatten(a, apart), flatten(b, apart)
	names := maps.Clone(was)
	maps.Copy(names, is)
	changes := []api.Change{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was[name] != is[name] {
			changes = append(changes, api.Change{Field: name, From: was[name], To: is[name]})
		}
	}
	return changes
}

// flatten gives every plain value of a spec by its place.
func flatten(spec api.AppSpec, apart bool) map[string]string {
	f := fieldList{fields: map[string]string{}}
	for name, c := range spec.Configs {
		f.fields["configs."+name] = fmt.Sprintf("%d bytes, sha256 %s", len(c.Content), shortHash(c.Content))
	}
	for name, s := range spec.Secrets {
		text := "version " + s.Version
		if apart {
			text = "set"
		}
		f.fields["secrets."+name] = text
	}
	for name, v := range spec.Volumes {
		f.fields["volumes."+name] = "declared"
		f.add("volumes."+name, plainTree(v))
	}
	for name, n := range spec.Networks {
		f.fields["networks."+name] = "declared"
		f.add("networks."+name, plainTree(n))
	}
	if checks, ok := plainTree(spec.Checks).([]any); ok {
		f.list("checks", checks)
	}
	for name, svc := range spec.Services {
		if apart {
			svc.Labels = maps.Clone(svc.Labels)
			delete(svc.Labels, GenerationLabel)
		}
		f.add("services."+name, plainTree(svc))
	}
	return f.fields
}

// plainTree gives a value as encoding/json would read it back.
func plainTree(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		panic("server: encode spec: " + err.Error()) // plain data always encodes
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		panic("server: decode spec: " + err.Error())
	}
	return tree
}

type fieldList struct{ fields map[string]string }

func (f *fieldList) add(place string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			if strings.HasSuffix(place, ".basicAuth") {
				e = "hash " + shortHash([]byte(fmt.Sprint(e)))
			}
			f.add(place+"."+key, e)
		}
	case []any:
		f.list(place, v)
	case string:
		f.fields[place] = readable(v)
	default:
		f.fields[place] = fmt.Sprint(v)
	}
}

// list names elements by what tells them apart, so that one that is added does not move the others. A list of plain
// values is one value: its order counts.
func (f *fieldList) list(place string, elements []any) {
	seen := map[string]int{}
	for i, e := range elements {
		m, ok := e.(map[string]any)
		if !ok {
			b, _ := json.Marshal(elements) // it came from JSON
			f.fields[place] = string(b)
			return
		}
		name := cmp.Or(identity(place[strings.LastIndexByte(place, '.')+1:], m), strconv.Itoa(i+1))
		if seen[name]++; seen[name] > 1 {
			name += "#" + strconv.Itoa(seen[name])
		}
		at := place + "[" + name + "]"
		f.fields[at] = "declared"
		f.add(at, m)
	}
}

// identity gives what an element of a list is known by; "" is its place.
func identity(list string, e map[string]any) string {
	text := func(key string) string {
		if v, ok := e[key]; ok {
			return fmt.Sprint(v)
		}
		return ""
	}
	switch list {
	case "ports", "mounts", "configs", "secrets":
		return text("target")
	case "routes":
		return cmp.Or(text("host"), "*") + "/" + strings.TrimPrefix(text("path"), "/")
	case "networks":
		return text("network")
	case "checks":
		return text("name")
	case "dependsOn":
		return text("service")
	}
	return ""
}

// readable quotes text that could be taken for nothing, or for more than it is.
func readable(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
