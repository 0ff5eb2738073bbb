-- Takes back what was granted; the roles stay, other databases may use them.
do $$ begin perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); end $$;
do $$
declare
    v_role text;
begin
    for v_role in select r.rolname from pg_roles r where r.rolname in ('kompanion_reader', 'kompanion_writer', 'kompanion_admin') loop
        execute format('revoke all on all tables in schema kompanion from %I', v_role);
        execute format('revoke all on all sequences in schema kompanion from %I', v_role);
        execute format('revoke all on all functions in schema kompanion from %I', v_role);
        execute format('revoke all on schema kompanion from %I', v_role);
    end loop;
end
$$;
drop function kompanion.grant_roles();
