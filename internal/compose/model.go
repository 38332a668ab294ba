package compose

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/ikada/ikada/api"
)

// maxModelBytes bounds the merged model: aliases may make much of little.
const maxModelBytes = 16 << 20

// model is what compose-go made of the files.
type model struct {
	project  *types.Project
	findings []finding
	warnings []string
}

// loadModel reads, interpolates and merges the files, and holds the result against the table of attributes before
// normalisation adds what the user did not write.
func loadModel(ctx context.Context, o Options) (*model, error) {
	name, err := o.appName()
	if err != nil {
		return nil, err
	}
	m := &model{}
	details := types.ConfigDetails{WorkingDir: o.Dir, Environment: types.Mapping(maps.Clone(o.Environ))}
	size := int64(0)
	var overrides []types.ConfigFile
	for _, f := range o.Files {
		content, err := os.ReadFile(f)
		if err != nil {
			return nil, api.Errorf(api.Invalid, "read %s: %w", f, err)
		}
		if size += int64(len(content)); size > MaxFileBytes {
			return nil, tooLarge(f, size)
		}
		if obsoleteVersion(content) {
			m.warnings = append(m.warnings, "version has no effect: it is obsolete")
		}
		base, override, err := splitEnvironments(filepath.Base(f), content, o.Env)
		if err != nil {
			return nil, err
		}
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: f, Content: base})
		if override != nil {
			overrides = append(overrides, types.ConfigFile{Filename: f, Content: override})
		}
	}
	details.ConfigFiles = append(details.ConfigFiles, overrides...)
	budget := &fileBudget{dir: o.Dir, total: size, seen: map[string]bool{}}
	unset := map[string]bool{}
	options := []func(*loader.Options){func(l *loader.Options) {
		l.SkipNormalization = true // until the table has seen what the user wrote
		l.Profiles = o.Profiles
		l.SetProjectName(name, true)
		l.Listeners = []loader.Listener{budget.event}
		l.Interpolate.Substitute = func(text string, vars template.Mapping) (string, error) {
			return substitute(text, vars, unset)
		}
	}}
	if err := m.read(ctx, o, details, options, name); err != nil {
		if budget.err != nil {
			return nil, budget.err
		}
		return nil, explain(err, o)
	}
	for v := range unset {
		m.warnings = append(m.warnings, UnsetWarning(v))
	}
	return m, budget.err
}

// read runs compose-go. It is a parser of outside input with unchecked type assertions: a panic of it is an error
// of the file.
func (m *model) read(ctx context.Context, o Options, details types.ConfigDetails, options []func(*loader.Options), name string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &api.Error{Kind: api.Invalid, Field: filepath.Base(o.Files[0]), Message: fmt.Sprintf("cannot be read: %v", r)}
		}
	}()
	dict, err := loader.LoadModelWithContext(ctx, details, options...)
	if err != nil {
		return err
	}
	if n := weigh(dict, maxModelBytes); n < 0 {
		return api.FieldError(filepath.Base(o.Files[0]), "", fmt.Sprintf("at most %d bytes after aliases are expanded", maxModelBytes))
	}
	services, _ := dict["services"].(map[string]any)
	if len(services) > api.MaxServices {
		return api.FieldError("services", fmt.Sprint(len(services)), fmt.Sprintf("at most %d services", api.MaxServices))
	}
	m.findings = judge(dict)
	for _, f := range m.findings {
		if f.verdict == refused && f.service == "" {
			return f.err()
		}
	}
	dict["name"] = name
	if dict, err = loader.Normalize(dict, details.Environment); err != nil {
		return err
	}
	m.project, err = loader.ModelToProject(dict, loader.ToOptions(&details, options), details)
	return err
}

// weigh gives what is left of a budget of bytes after a value; negative when it did not do.
func weigh(v any, left int) int {
	if left < 0 {
		return left
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if left = weigh(e, left-len(k)-8); left < 0 {
				return left
			}
		}
	case []any:
		for _, e := range v {
			if left = weigh(e, left-8); left < 0 {
				return left
			}
		}
	case string:
		return left - len(v)
	}
	return left - 8
}

// UnsetWarning tells that a variable is used without a default and is not set.
func UnsetWarning(name string) string {
	return fmt.Sprintf("variable %s is not set: an empty string is taken", name)
}

// substitute interpolates one value and notes variables that are used without a default and not set.
func substitute(text string, vars template.Mapping, unset map[string]bool) (string, error) {
	quiet := func(cfg *template.Config) { template.WithoutLogging(cfg) }
	note := template.WithReplacementFunction(func(part string, vars template.Mapping, cfg *template.Config) (string, error) {
		value, applied, err := template.DefaultReplacementAppliedFunc(part, vars, cfg)
		if err == nil && !applied {
			unset[strings.Trim(part, "${}")] = true
		}
		return value, err
	})
	return template.SubstituteWithOptions(text, vars, quiet, note)
}

// fileBudget counts the files that Compose files draw in.
type fileBudget struct {
	dir   string
	total int64
	seen  map[string]bool
	err   error
}

func (b *fileBudget) event(_ string, data map[string]any) {
	dir, _ := data["workingdir"].(string)
	var files []string
	switch v := data["path"].(type) {
	case types.StringList:
		files = append(files, v...)
	}
	if f, ok := data["file"].(string); ok {
		files = append(files, f)
	}
	for _, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(cmp.Or(dir, b.dir), f)
		}
		info, err := os.Stat(f)
		if err != nil || b.seen[f] {
			continue // a missing file is compose-go's to report
		}
		b.seen[f] = true
		if b.total += info.Size(); b.total > MaxFileBytes && b.err == nil {
			b.err = tooLarge(f, b.total)
		}
	}
}

// appName gives the app's name: the option, the last file's name:, the directory.
func (o Options) appName() (string, error) {
	name := o.Name
	for i := len(o.Files) - 1; name == "" && i >= 0; i-- {
		content, err := os.ReadFile(o.Files[i])
		if err != nil || len(content) > MaxFileBytes {
			continue // the loader says so
		}
		found, err := substitute(topLevel(content, "name"), func(k string) (string, bool) {
			v, ok := o.Environ[k]
			return v, ok
		}, map[string]bool{})
		if err != nil {
			return "", &api.Error{Kind: api.Invalid, Field: "name", Message: err.Error()}
		}
		name = found
	}
	given := name != ""
	if !given {
		name = filepath.Base(o.Dir)
	}
	app := label(name)
	if app == "" {
		if given {
			return "", api.FieldError("name", name, "a name of letters, digits and '-'")
		}
		app = "app" // a directory such as "/" has no name
	}
	return app, nil
}

// topLevel gives a plain value at the top of a YAML document; "" when there is none or the document is broken,
// which the loader tells better.
func topLevel(content []byte, key string) string {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	value := ""
	for {
		var doc struct {
			Fields map[string]yaml.Node `yaml:",inline"`
		}
		if err := dec.Decode(&doc); err != nil {
			if !errors.Is(err, io.EOF) {
				return ""
			}
			return value
		}
		if n, ok := doc.Fields[key]; ok && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			value = n.Value
		}
	}
}

func obsoleteVersion(content []byte) bool {
	return bytes.Contains(content, []byte("version")) && topLevel(content, "version") != ""
}

// build turns the model into an app.
func (m *model) build(o Options) (*Project, error) {
	c := &converter{options: o, project: m.project, warnings: m.warnings, builds: map[string]api.BuildSpec{}}
	for _, f := range m.findings {
		if _, active := m.project.Services[f.service]; f.service != "" && !active {
			continue // its profile is not active
		}
		if f.verdict == refused {
			c.errs = append(c.errs, f.err())
		} else {
			c.warnings = append(c.warnings, f.warning())
		}
	}
	spec := c.app()
	if len(c.errs) > 0 {
		trees := rawTrees(o.Files)
		renameFields(c.errs, func(field string) string { return o.within(field, trees) })
		return nil, api.FieldErrors(c.errs)
	}
	err := validate(spec, c.builds, func(field string) string { return o.within(m.composeField(field), rawTrees(o.Files)) })
	if err != nil {
		return nil, err
	}
	slices.Sort(c.warnings)
	return &Project{Dir: o.Dir, Files: o.Files, Spec: spec, Builds: c.builds, Warnings: slices.Compact(c.warnings)}, nil
}
