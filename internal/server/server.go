package server

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// Prefix is the path under which the API is served.
const Prefix = "/api/v1"

const (
	registryPath = "/v2/"
	metricsPath  = "/metrics" // where scrapers look; under Prefix too
	openAPIPath  = Prefix + "/openapi.json"
)

// Server answers the API's requests.
type Server struct {
	deps     Deps
	store    store.Store
	key      *auth.Key
	log      *slog.Logger
	mux      *http.ServeMux
	spec     []byte // the OpenAPI document
	active   sync.WaitGroup
	closing  chan struct{} // closed when streams are to end
	close    sync.Once
	rotating sync.Mutex   // held while the key is changed and everything is sealed anew
	sealing  sync.RWMutex // held for reading by who seals and writes, for writing while the key changes
}

// New makes a server; it listens to nothing until Serve.
func New(d Deps) (*Server, error) {
	if d.Store == nil || d.Key == nil || d.Log == nil {
		return nil, api.Errorf(api.Internal, "make server: Store, Key and Log are required")
	}
	s := &Server{
		deps: d, store: d.Store, key: d.Key, log: d.Log,
		mux: http.NewServeMux(), closing: make(chan struct{}),
	}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "ikada",
				Version:     d.Version.Version,
				Description: "Deploy apps to Linux machines. Over TCP every operation but health needs a token, and the token a role.",
			},
			Servers: []*huma.Server{{URL: Prefix}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", Description: "A token of POST /tokens"},
				},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{translate},
	}
	a := humago.NewWithPrefix(s.mux, Prefix, config)
	a.UseMiddleware(s.obey)
	s.routes(a)
	sharpen(a)
	delete(a.OpenAPI().Components.Schemas.Map(), "ErrorModel") // problems stand in its place
	delete(a.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
	var err error
	if s.spec, err = json.Marshal(a.OpenAPI()); err != nil {
		return nil, api.Errorf(api.Internal, "encode OpenAPI document: %w", err)
	}
	s.mux.HandleFunc("GET "+openAPIPath, s.openAPI)
	s.mux.HandleFunc("/api/", s.unknown)
	return s, nil
}

// Handler gives everything that the server serves; local is for the unix socket.
func (s *Server) Handler(local bool) http.Handler {
	top := http.NewServeMux()
	top.Handle("/api/", s.admit(local, s.mux))
	top.Handle("GET "+metricsPath, s.admit(local, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = Prefix+metricsPath, ""
		s.mux.ServeHTTP(w, r)
	})))
	if s.deps.Registry != nil {
		top.Handle(registryPath, s.admit(local, http.HandlerFunc(s.registry)))
	}
	if s.deps.Dashboard != nil {
		top.Handle("/", s.deps.Dashboard)
	} else {
		top.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			writeProblem(w, problemOf(api.Errorf(api.NotFound, "there is nothing at %s; the API is under %s", r.URL.Path, Prefix)))
		})
	}
	return s.observe(top)
}

// registry passes on to the registry what the caller may do there.
func (s *Server) registry(w http.ResponseWriter, r *http.Request) {
	notePush(requestOf(r.Context()), r)
	r, err := admitRegistry(r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	s.deps.Registry.ServeHTTP(w, r)
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(s.spec)
}

// unknown answers a path or method that no operation has.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := s.mux.Handler(probe); pattern != "/api/" && pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, &api.Error{
			Kind: api.Invalid, Field: "method", Value: r.Method, Expected: strings.Join(allowed, " or "),
		}))
		return
	}
	writeProblem(w, problemOf(api.Errorf(api.NotFound, "the API has no %s; see %s", r.URL.Path, openAPIPath)))
}

// jsonFormat encodes whole before it writes, so that what cannot be encoded is a clean error, and a client that has
// gone is none.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
		_, _ = w.Write(b.Bytes())
		return nil
	},
	Unmarshal: json.Unmarshal,
}

// missing is the error of an operation whose part this server lacks.
func missing(part string) error {
	return api.Errorf(api.Unavailable, "this server has no %s", part)
}

func (s *Server) now() time.Time { return time.Now().UTC() }
