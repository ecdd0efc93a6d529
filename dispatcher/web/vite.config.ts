import { defineConfig } from 'vite';

// Where `npm run dev` finds the API: a dispatcher, or the mock (`npm run dev:mock`).
const api = process.env['TOUCHLINE_API'] ?? 'http://127.0.0.1:8088';

export default defineConfig({
  server: { proxy: { '/v1': api, '/media': api, '/uploads': api } },
  build: {
    target: 'es2022',
    // The content security policy allows no inline data, and one stylesheet is enough.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    // hls.js, in a chunk of its own that only the player loads.
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/[name]-[hash].js',
        chunkFileNames: 'assets/[name]-[hash].js',
        assetFileNames: 'assets/[name]-[hash][extname]',
      },
    },
  },
});
