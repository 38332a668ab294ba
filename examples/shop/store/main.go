// Command store is the shop's database: values by key over HTTP, in a file that is replaced as a whole.
//
//	GET  /keys/KEY    a value
//	PUT  /keys/KEY    sets it
//	POST /keys/KEY    adds a line to it
//
// Callers show the password as a bearer token.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	file     = "/data/store.json"
	maxValue = 1 << 20 // bytes
)

type store struct {
	mu     sync.Mutex
	values map[string]string
}

func main() {
	password, err := os.ReadFile("/run/secrets/store_password")
	if err != nil {
		log.Fatal(err)
	}
	s := &store{values: map[string]string{}}
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, &s.values); err != nil {
			log.Fatalf("read %s: %v", file, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		log.Fatal(err)
	}
	http.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	http.Handle("/keys/{key}", guard(strings.TrimSpace(string(password)), s))
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- server.Shutdown(context.Background())
	}()
	log.Printf("%d keys in %s", len(s.values), file)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

func guard(password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(shown), []byte(password)) != 1 {
			http.Error(w, "wrong password", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	switch r.Method {
	case http.MethodGet:
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, value)
		return
	case http.MethodPut, http.MethodPost:
	default:
		http.Error(w, "expected GET, PUT or POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	next := string(body)
	if r.Method == http.MethodPost {
		next = value + next + "\n"
	}
	if err := s.save(key, next); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// save writes everything to a new file before that takes the place of the old one.
func (s *store) save(key, value string) error {
	was, had := s.values[key]
	s.values[key] = value
	err := s.write()
	if err == nil {
		return nil
	}
	if s.values[key] = was; !had {
		delete(s.values, key)
	}
	return err
}

func (s *store) write() error {
	b, err := json.Marshal(s.values)
	if err != nil {
		return err
	}
	f, err := os.Create(file + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
