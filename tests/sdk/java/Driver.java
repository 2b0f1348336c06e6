// Drives the official Java SDK for a test, by the contract that ../javascript/client.mjs describes.

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.centrifugal.centrifuge.*;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

public final class Driver {
    private static final Gson GSON = new GsonBuilder().serializeNulls().create();
    private static final int ANSWER_SECONDS = 20;

    private static synchronized void tell(String event, Map<String, ?> fields) {
        JsonObject line = new JsonObject();
        line.addProperty("event", event);
        fields.forEach((name, value) -> line.add(name, GSON.toJsonTree(value)));
        System.out.println(line);
        System.out.flush();
    }

    private static byte[] encode(JsonElement data) {
        return (data == null ? "null" : data.toString()).getBytes(StandardCharsets.UTF_8);
    }

    private static JsonElement decode(byte[] data) {
        return JsonParser.parseString(new String(data, StandardCharsets.UTF_8));
    }

    private static Map<String, Object> publication(byte[] data, long offset, ClientInfo info) {
        return info == null
            ? Map.of("data", decode(data), "offset", offset)
            : Map.of("data", decode(data), "offset", offset, "user", info.getUser());
    }

    private static final class Events extends EventListener {
        @Override public void onConnecting(Client client, ConnectingEvent event) {
            tell("connecting", Map.of("code", event.getCode(), "reason", event.getReason()));
        }

        @Override public void onConnected(Client client, ConnectedEvent event) {
            tell("connected", Map.of("client", event.getClient()));
        }

        @Override public void onDisconnected(Client client, DisconnectedEvent event) {
            tell("disconnected", Map.of("code", event.getCode(), "reason", event.getReason()));
        }

        @Override public void onError(Client client, ErrorEvent event) {
            tell("error", Map.of("message", String.valueOf(event.getError())));
        }

        @Override public void onMessage(Client client, MessageEvent event) {
            tell("message", Map.of("data", decode(event.getData())));
        }
    }

    private static final class SubscriptionEvents extends SubscriptionEventListener {
        @Override public void onSubscribed(Subscription subscription, SubscribedEvent event) {
            tell("subscribed", Map.of("wasRecovering", event.wasRecovering(), "recovered", event.getRecovered()));
        }

        @Override public void onSubscribing(Subscription subscription, SubscribingEvent event) {
            tell("subscribing", Map.of("code", event.getCode(), "reason", event.getReason()));
        }

        @Override public void onUnsubscribed(Subscription subscription, UnsubscribedEvent event) {
            tell("unsubscribed", Map.of("code", event.getCode(), "reason", event.getReason()));
        }

        @Override public void onError(Subscription subscription, SubscriptionErrorEvent event) {
            tell("error", Map.of("message", String.valueOf(event.getError())));
        }

        @Override public void onPublication(Subscription subscription, PublicationEvent event) {
            tell("publication", publication(event.getData(), event.getOffset(), event.getInfo()));
        }
    }

    /** Waits for the answer that a call gives to its callback. */
    private static <R, T> T answer(Consumer<ResultCallback<R>> call, Function<R, T> read) throws Exception {
        CompletableFuture<T> answer = new CompletableFuture<>();
        call.accept((error, result) -> {
            if (error != null) {
                answer.completeExceptionally(error);
            } else {
                answer.complete(read.apply(result));
            }
        });
        return answer.get(ANSWER_SECONDS, TimeUnit.SECONDS);
    }

    private static Object act(Client client, Subscription subscription, JsonObject command) throws Exception {
        switch (command.get("do").getAsString()) {
            case "publish":
                byte[] data = encode(command.get("data"));
                return answer((ResultCallback<PublishResult> done) ->
                    client.publish(command.get("channel").getAsString(), data, done), result -> null);
            case "batch":
                List<CompletableFuture<Void>> all = new ArrayList<>();
                for (JsonElement item : command.getAsJsonArray("items")) {
                    CompletableFuture<Void> one = new CompletableFuture<>();
                    all.add(one);
                    subscription.publish(encode(item), (error, result) -> {
                        if (error != null) {
                            one.completeExceptionally(error);
                        } else {
                            one.complete(null);
                        }
                    });
                }
                CompletableFuture.allOf(all.toArray(new CompletableFuture[0])).get(ANSWER_SECONDS, TimeUnit.SECONDS);
                return null;
            case "rpc":
                return answer((ResultCallback<RPCResult> done) -> client.rpc(
                    command.get("method").getAsString(), encode(command.get("data")), done),
                    result -> decode(result.getData()));
            case "presence":
                return answer(subscription::presence, (PresenceResult result) ->
                    result.getClients().values().stream().map(ClientInfo::getUser).toList());
            case "presenceStats":
                return answer(subscription::presenceStats, (PresenceStatsResult result) ->
                    Map.of("numClients", result.getNumClients(), "numUsers", result.getNumUsers()));
            case "history":
                HistoryOptions options =
                    new HistoryOptions.Builder().withLimit(command.get("limit").getAsInt()).build();
                return answer((ResultCallback<HistoryResult> done) -> subscription.history(options, done), result ->
                    result.getPublications().stream()
                        .map(item -> publication(item.getData(), item.getOffset(), item.getInfo()))
                        .toList());
            case "subscribe":
                subscription.subscribe();
                return null;
            case "unsubscribe":
                subscription.unsubscribe();
                return null;
            default:
                throw new IllegalArgumentException(command.toString());
        }
    }

    private static Map<String, Object> failure(String what, Throwable error) {
        Throwable cause = error.getCause() == null ? error : error.getCause();
        int code = cause instanceof ReplyError ? ((ReplyError) cause).getCode() : 0;
        return Map.of("do", what, "ok", false, "code", code, "message", String.valueOf(cause.getMessage()));
    }

    public static void main(String[] arguments) throws Exception {
        JsonObject wanted = JsonParser.parseString(arguments[0]).getAsJsonObject();
        Options options = new Options();
        options.setToken(wanted.get("token").getAsString());
        options.setMinReconnectDelay(50);
        if (wanted.has("freshToken") && !wanted.get("freshToken").isJsonNull()) {
            options.setTokenGetter(new ConnectionTokenGetter() {
                @Override public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
                    tell("tokenWanted", Map.of());
                    callback.Done(null, wanted.get("freshToken").getAsString());
                }
            });
        }
        Client client = new Client(wanted.get("url").getAsString(), options, new Events());
        Subscription subscription =
            client.newSubscription(wanted.get("channel").getAsString(), new SubscriptionEvents());
        client.connect();
        subscription.subscribe();

        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject command = JsonParser.parseString(line).getAsJsonObject();
            String what = command.get("do").getAsString();
            if (what.equals("quit")) {
                break;
            }
            try {
                Object result = act(client, subscription, command);
                JsonObject reply = new JsonObject();
                reply.add("result", GSON.toJsonTree(result));
                tell("reply", Map.of("do", what, "ok", true, "result", reply.get("result")));
            } catch (Exception error) {
                tell("reply", failure(what, error));
            }
        }
        client.close(1000);
        System.exit(0);
    }
}
