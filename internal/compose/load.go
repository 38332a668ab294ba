package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/ikada/ikada/api"
)

// MaxFileBytes bounds the Compose files of one app together, those that they include and extend counted.
const MaxFileBytes = 1 << 20

// Options says what to load.
type Options struct {
	// Dir is the project's directory; "" is that of the first of Files, or the current one.
	Dir string
	// Files are Compose files, later ones over earlier ones, relative to Dir. Empty: COMPOSE_FILE of the
	// environment, else the first of compose.yaml, compose.yml, docker-compose.yml and docker-compose.yaml with its
	// override file and the file of Env (compose.staging.yaml), else a Dockerfile. What the files' x-ikada.environments
	// says of Env is laid over all of them.
	Files []string
	// Env is the environment's name; "" is api.DefaultEnv. Compose files see it as ${IKADA_ENV}.
	Env string
	// Profiles are the active profiles; empty: COMPOSE_PROFILES, separated by commas.
	Profiles []string
	// Name overrides the app's name, which is otherwise COMPOSE_PROJECT_NAME, the file's name:, the directory's name.
	Name string
	// Environ are the variables for interpolation; they win over Dir's .env file.
	Environ map[string]string
	// Platform is the nodes', "" is linux on this machine's architecture; a service that asks for another is refused.
	Platform string
}

// Project is a loaded app.
type Project struct {
	Dir      string                   // absolute
	Files    []string                 // absolute; empty when there was only a Dockerfile
	Spec     api.AppSpec              // services of Builds have no image yet
	Builds   map[string]api.BuildSpec // by service; contexts are absolute
	Warnings []string                 // what has no effect, by name; sorted, without repeats
}

// composeNames and overrideNames are the default files, in Compose's order of preference.
var (
	composeNames  = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	overrideNames = []string{
		"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
	}
)

// Load reads an app. Errors are of kind Invalid and name the field, or of kind NotFound when there is nothing to
// load. It reads files and waits for nothing.
func Load(ctx context.Context, o Options) (*Project, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, api.Errorf(api.Timeout, "load app: %w", err)
	}
	if len(o.Files) == 0 {
		return fromDockerfile(o)
	}
	if err := compileSchema(); err != nil {
		return nil, api.Errorf(api.Internal, "load app: %w", err)
	}
	m, err := loadModel(ctx, o)
	if err != nil {
		return nil, err
	}
	return m.build(o)
}

// Name gives the app's name as Load would, without reading more than it must; "" when Dir holds no app.
func Name(o Options) string {
	if err := o.complete(); err != nil {
		return ""
	}
	name, _ := o.appName()
	return name
}

// complete resolves paths, reads .env and finds the files.
func (o *Options) complete() error {
	if o.Dir == "" && len(o.Files) > 0 {
		o.Dir = filepath.Dir(o.Files[0])
		files := slices.Clone(o.Files)
		for i, f := range files {
			abs, err := filepath.Abs(f)
			if err != nil {
				return api.Errorf(api.Internal, "resolve %s: %w", f, err)
			}
			files[i] = abs
		}
		o.Files = files
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return api.Errorf(api.Internal, "resolve %s: %w", o.Dir, err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &api.Error{Kind: api.NotFound, Field: "directory", Value: o.Dir, Expected: "a directory with a Compose file or a Dockerfile"}
	}
	o.Dir = dir
	o.Env = cmp.Or(o.Env, api.DefaultEnv)
	o.Platform = cmp.Or(o.Platform, "linux/"+runtime.GOARCH)
	if err := o.environment(); err != nil {
		return err
	}
	if len(o.Profiles) == 0 {
		for p := range strings.SplitSeq(o.Environ["COMPOSE_PROFILES"], ",") {
			if p = strings.TrimSpace(p); p != "" {
				o.Profiles = append(o.Profiles, p)
			}
		}
	}
	o.Name = cmp.Or(o.Name, o.Environ["COMPOSE_PROJECT_NAME"])
	return o.find()
}

// environment lays the caller's variables over those of .env.
func (o *Options) environment() error {
	vars := maps.Clone(o.Environ)
	if vars == nil {
		vars = map[string]string{}
	}
	file := filepath.Join(o.Dir, ".env")
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		fromFile, err := dotenv.GetEnvFromFile(vars, []string{file})
		if err != nil {
			return &api.Error{Kind: api.Invalid, Field: ".env", Message: plain(err.Error(), o.Dir)}
		}
		for k, v := range fromFile {
			if _, set := vars[k]; !set {
				vars[k] = v
			}
		}
	}
	if _, set := vars["IKADA_ENV"]; !set {
		vars["IKADA_ENV"] = o.Env
	}
	o.Environ = vars
	return nil
}

// find fills Files and makes them absolute; it stays empty when a Dockerfile is all there is.
func (o *Options) find() error {
	if len(o.Files) == 0 {
		if list := o.Environ["COMPOSE_FILE"]; list != "" {
			o.Files = strings.Split(list, cmp.Or(o.Environ["COMPOSE_PATH_SEPARATOR"], string(os.PathListSeparator)))
		}
	}
	if len(o.Files) == 0 {
		if name := firstFile(o.Dir, composeNames); name != "" {
			o.Files = append(o.Files, name)
			if over := firstFile(o.Dir, overrideNames); over != "" {
				o.Files = append(o.Files, over)
			}
			if api.CheckEnvName("env", o.Env) == nil {
				if own := firstFile(o.Dir, environmentFiles(o.Env)); own != "" && !slices.Contains(o.Files, own) {
					o.Files = append(o.Files, own)
				}
			}
		} else if firstFile(o.Dir, []string{dockerfileName}) == "" {
			return &api.Error{Kind: api.NotFound, Field: "directory", Value: o.Dir, Expected: "a Compose file (" + composeNames[0] + ") or a Dockerfile"}
		}
	}
	files := slices.Clone(o.Files)
	var total int64
	for i, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(o.Dir, f)
		}
		info, err := os.Stat(f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &api.Error{Kind: api.NotFound, Field: "file", Value: o.Files[i], Expected: "a Compose file"}
		case err != nil:
			return api.Errorf(api.Invalid, "open %s: %w", f, err)
		case !info.Mode().IsRegular():
			return api.FieldError("file", o.Files[i], "a regular file")
		}
		if total += info.Size(); total > MaxFileBytes {
			return tooLarge(o.Files[i], total)
		}
		files[i] = f
	}
	o.Files = files
	return nil
}

func tooLarge(file string, size int64) error {
	return api.FieldError(file, fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes of Compose files", MaxFileBytes))
}

func firstFile(dir string, names []string) string {
	for _, n := range names {
		if info, err := os.Stat(filepath.Join(dir, n)); err == nil && info.Mode().IsRegular() {
			return n
		}
	}
	return ""
}

// label makes an app's name of any name: a DNS label, since names of apps become host names.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r == '_', r == '.', r == ' ':
			return '-'
		}
		return -1
	}, s)
	return strings.Trim(s[:min(len(s), api.MaxName)], "-")
}
