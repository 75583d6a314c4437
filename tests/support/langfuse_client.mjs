// A program that uses Langfuse's SDK for JavaScript, as langfuse_client.py does for Python.
//
//     node langfuse_client.mjs HOST TOKEN PACKAGE_FOLDER
import { createRequire } from "node:module";

const [host, token, folder] = process.argv.slice(2);
const { Langfuse } = createRequire(`${folder}/`)("langfuse");
const question = [{ role: "user", content: "Weather in Paris?" }];
const call = { id: "call_1", type: "function", function: { name: "get_weather", arguments: '{"city": "Paris"}' } };
const answer = { role: "assistant", content: "One moment.", tool_calls: [call] };

const client = new Langfuse({ publicKey: "pk-lf-test", secretKey: token, baseUrl: host, flushAt: 3, fetchRetryDelay: 200 });
const trace = client.trace({ id: "trace-1", name: "chat", userId: "dana@example.com", sessionId: "s-1", tags: ["prod"] });
const span = trace.span({ id: "span-1", name: "agent", input: { goal: "weather" } });
const generation = span.generation({ id: "gen-1", name: "openai", model: "gpt-5", modelParameters: { temperature: 0 }, input: question });
generation.end({ output: answer, usageDetails: { input: 10, output: 3, total: 13 } });
const failing = trace.generation({ id: "gen-2", name: "openai", model: "gpt-5", input: question });
failing.end({ level: "ERROR", statusMessage: "rate limited" });
span.end({ output: "done" });
trace.event({ id: "event-1", name: "cache", input: "miss" });
trace.score({ id: "score-1", name: "quality", value: 0.9, comment: "good" });
await client.shutdownAsync();
