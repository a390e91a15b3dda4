import { defineConfig } from "vitest/config";

// The pure modules only; what draws is tested in real Chromium by tests/browser.
export default defineConfig({ test: { include: ["test/**/*.test.ts"], environment: "node" } });
